// The still part of the timeline: phases, grid, curves, marks, ticks. Drawn once a size.

import type { WhatIf } from "../../data/asking";
import { valueAt } from "../../data/epochs";
import type { Record } from "../../data/record";
import { svg } from "../../ui/dom";
import { moment } from "../../ui/format";
import { curvesOf, drawCurves } from "../whatif/plot";
import { linear, logTicks, path, placeLabels, type Scale, ticks } from "./axis";
import { ceiling, type Line } from "./lines";
import { phasesOf } from "./phases";

export const LEFT = 64,
  RIGHT = 24,
  TOP = 24,
  BOTTOM = 100,
  HEIGHT = 134;
const TEXT = 6.7; // width of a character at 11 px, on the generous side

export function yScale(lines: readonly Line[]): Scale {
  return linear(0, ceiling(lines), BOTTOM, TOP);
}

export function drawPlot(
  group: SVGGElement,
  record: Record,
  lines: readonly Line[],
  x: Scale,
  width: number,
  early: boolean,
  answer: WhatIf | null = null,
  scored: ArrayLike<number> = [],
): void {
  const y = yScale(lines),
    parts: SVGElement[] = [],
    right = width - RIGHT;
  for (const phase of phasesOf(record)) {
    const from = x(phase.from),
      to = x(phase.to),
      half = (phase.name.length * TEXT) / 2;
    parts.push(
      svg("rect", {
        class: `dg-phase dg-${phase.name}`,
        x: from,
        y: TOP,
        width: Math.max(0, to - from),
        height: BOTTOM - TOP,
      }),
    );
    if (to - from > 2 * half + 12) {
      const name = svg(
        "text",
        { class: "dg-phase-name", x: (from + to) / 2, y: 15, "text-anchor": "middle" },
        phase.name,
      );
      name.dataset.half = String(half);
      parts.push(name);
    }
  }
  const top = ceiling(lines),
    share = !lines.length || lines[0]!.format === "share";
  for (const value of share ? [0, 0.5, 1] : ticks(0, top, 2)) {
    parts.push(svg("line", { class: "dg-grid", x1: LEFT, x2: right, y1: y(value), y2: y(value) }));
    parts.push(
      svg(
        "text",
        { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" },
        share ? `${value * 100} %` : String(value),
      ),
    );
  }
  if (!lines.length && record.epochs.length)
    parts.push(
      svg(
        "text",
        { class: "dg-note", x: (LEFT + right) / 2, y: (TOP + BOTTOM) / 2, "text-anchor": "middle" },
        "no accuracy or loss is recorded",
      ),
    );
  // what an answer says of test accuracy, under the recorded curves
  if (answer && share) parts.push(...drawCurves(curvesOf(answer, true), scored, x, y, false));
  for (const line of [...lines].reverse()) {
    parts.push(
      svg("path", {
        class: `dg-curve dg-${line.role}`,
        d: path(line.epochs, line.values, x, (value) => Math.min(BOTTOM, Math.max(TOP, y(value)))),
      }),
    );
    // one recorded moment makes no line
    if (line.epochs.length === 1)
      parts.push(
        svg("circle", {
          class: `dg-dot dg-${line.role}`,
          cx: x(line.epochs[0]!),
          cy: y(line.values[0]!),
          r: 3.5,
        }),
      );
  }
  parts.push(...marks(record, x), ...axis(record, x, right, early));
  group.replaceChildren(...parts);
}

function marks(record: Record, x: Scale): SVGElement[] {
  return record.attrs.marks.flatMap((mark) => {
    const at = x(mark.epoch),
      out: SVGElement[] = [svg("line", { class: "dg-mark", x1: at, x2: at, y1: TOP, y2: BOTTOM })];
    if (mark.low !== undefined && mark.high !== undefined)
      out.push(
        svg("line", {
          class: "dg-interval",
          x1: x(mark.low),
          x2: x(mark.high),
          y1: BOTTOM,
          y2: BOTTOM,
        }),
      );
    return out;
  });
}

/** The marks' names, drawn over the playhead: they keep still, and its line passes behind them. */
export function drawNames(
  group: SVGGElement,
  record: Record,
  lines: readonly Line[],
  x: Scale,
  width: number,
): void {
  const shown = record.attrs.marks.map((mark) => ({
    mark,
    text: `${mark.kind === "half" || mark.kind === "generalized" ? "test " : ""}${mark.label} at ${moment(mark.epoch)}`,
  }));
  const placed = placeLabels(
    shown.map(({ mark, text }) => ({ x: x(mark.epoch), width: text.length * TEXT })),
    LEFT,
    width - RIGHT,
    5,
    (row, from, to) => crossed(lines, x, from, to, BOTTOM - 4 - row * 14),
  );
  group.replaceChildren(
    ...shown.map(({ text }, i) =>
      svg(
        "text",
        {
          class: "dg-note",
          x: placed[i]!.x,
          y: BOTTOM - 7 - placed[i]!.row * 14,
          "text-anchor": placed[i]!.anchor,
        },
        text,
      ),
    ),
  );
}

/** Whether a curve runs through a line of text whose foot is at `foot`. */
function crossed(
  lines: readonly Line[],
  x: Scale,
  from: number,
  to: number,
  foot: number,
): boolean {
  const y = yScale(lines);
  for (let pixel = from; pixel <= to; pixel += 6)
    for (const line of lines) {
      const at = y(valueAt(line.epochs, line.values, x.invert(pixel)));
      if (at > foot - 15 && at < foot + 2) return true;
    }
  return false;
}

function axis(record: Record, x: Scale, right: number, early: boolean): SVGElement[] {
  const scored = new Set<number>();
  for (const method of record.attrs.methods)
    for (const epoch of record.scoreEpochs(method.id)) scored.add(epoch);
  let low = "",
    high = "";
  // two paths for all ticks: a run may have thousands
  for (const epoch of record.epochs) {
    const at = x(epoch).toFixed(1);
    if (scored.has(epoch)) high += `M${at},${BOTTOM + 3}v8`;
    else low += `M${at},${BOTTOM + 3}v4`;
  }
  const parts: SVGElement[] = [
    svg("path", { class: "dg-tick", d: low }),
    svg("path", { class: "dg-tick dg-scored", d: high }),
  ];
  const many = Math.max(2, Math.floor((right - LEFT) / 110)),
    round = early
      ? logTicks(record.first, record.last, x, 40)
      : ticks(record.first, record.last, many);
  // where it ends is worth a number of its own
  if (right - x(round[round.length - 1] ?? record.first) > 90) round.push(record.last);
  if (record.epochs.length)
    for (const value of round) {
      const at = x(value);
      parts.push(
        svg(
          "text",
          {
            x: at > right - 16 ? right : at,
            y: HEIGHT - 12,
            "text-anchor": at > right - 16 ? "end" : "middle",
          },
          moment(value),
        ),
      );
    }
  return parts;
}
