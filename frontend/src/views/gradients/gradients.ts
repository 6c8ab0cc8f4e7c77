// Gradient flow: layers by recorded moments, with what vanished, exploded or broke marked.
import type { Blocks } from "../../data/blocks";
import { indexNearest } from "../../data/epochs";
import { Waiting } from "../../ui/await";
import { el, put, say, svg } from "../../ui/dom";
import { clipped, count, magnitude, moment, signed } from "../../ui/format";
import { Tip } from "../../ui/tip";
import type { Context, State, View, ViewKind } from "../../view";
import { css, diverging, ordered, type Rgb } from "../evolution/palette";
import { linear, type Scale, ticks } from "../timeline/axis";
import { edges, FLAGS, fillCells, flagged, MEASURES, paint, toneOf } from "./cells";

const RIGHT = 84,
  FOOT = 22,
  MOST_HEIGHT = 360,
  NAME = 23,
  CHARACTER = 6.6;

class GradientFlow implements View {
  #context: Context;
  #waiting: Waiting;
  #buttons: HTMLButtonElement[];
  #legend: HTMLElement;
  #summary = el("p", { class: "dg-panel-note dg-small" });
  #frame: HTMLElement;
  #canvas = el("canvas", { "aria-hidden": "true" });
  #marks: SVGSVGElement;
  #now = svg("line", { class: "dg-chart-now" });
  #values: SVGTextElement[] = [];
  #when = svg("text", { class: "dg-heat-value" });
  #still = svg("g");
  #tip = new Tip();
  #measure = "norm";
  #drawn: readonly unknown[] = [];
  #width = 0;
  #left = 60;
  #x: Scale = linear(0, 1, 0, 1);
  #row = 20;
  #blocks: Blocks | null = null;
  #body: HTMLElement;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { signal, guard, redraw, store, player } = context;
    this.#waiting = new Waiting(context);
    this.#buttons = MEASURES.map(([value, text]) => {
      const button = el(
        "button",
        { type: "button", class: "dg-chip", "data-testid": `dg-measure-${value}` },
        text,
      );
      button.addEventListener(
        "click",
        guard(() => {
          this.#measure = value;
          redraw();
        }),
        { signal },
      );
      return button;
    });
    this.#legend = el("span", { class: "dg-legend-colours dg-small" });
    this.#marks = svg(
      "svg",
      { width: "100%", role: "img", "aria-label": "Heatmap of layers by recorded moments" },
      this.#still,
      this.#now,
    );
    this.#frame = el(
      "div",
      { class: "dg-heat", "data-testid": "dg-heat" },
      this.#canvas,
      this.#marks,
      this.#tip.element,
    );
    this.#body = el(
      "div",
      {},
      el(
        "div",
        { class: "dg-panel-title" },
        el("span", { class: "dg-chips", role: "group", "aria-label": "Measure" }, ...this.#buttons),
        el("span", { class: "dg-push" }),
        this.#legend,
      ),
      this.#frame,
      this.#summary,
    );
    slot.append(this.#waiting.element, this.#body);
    context.onSize(this.#frame, (width) => {
      if (width !== this.#width) {
        this.#width = width;
        redraw();
      }
    });
    const { record } = context;
    this.#frame.addEventListener(
      "click",
      guard((event) => {
        const at = this.#cell(event);
        if (at && record.epochs.length) {
          player.pause();
          store.set({
            epoch:
              record.epochs[indexNearest(record.epochs, this.#blocks!.numbers("epoch")[at[0]]!)]!,
          });
        }
      }),
      { signal },
    );
    this.#frame.addEventListener(
      "pointermove",
      guard((event) => this.#describe(event)),
      { signal },
    );
    this.#frame.addEventListener("pointerleave", () => this.#tip.hide(), { signal });
  }

  update({ selection, theme }: State): void {
    const blocks = this.#waiting.take("gradients/all");
    this.#body.hidden = !blocks;
    if (!blocks) return;
    this.#blocks = blocks;
    if (!blocks.has(this.#measure))
      this.#measure = MEASURES.find(([name]) => blocks.has(name))?.[0] ?? "norm";
    this.#buttons.forEach((button, i) => {
      const name = MEASURES[i]![0];
      put(button, { "aria-pressed": String(name === this.#measure) });
      button.disabled = !blocks.has(name);
    });
    if (!this.#width) return;
    const drawn = [blocks, this.#measure, theme, this.#width];
    if (drawn.some((part, i) => part !== this.#drawn[i])) {
      this.#drawn = drawn;
      this.#draw(blocks, theme.dark, theme.colour("line"));
    }
    const epochs = blocks.numbers("epoch"),
      at = indexNearest(epochs, selection.epoch),
      x = this.#x(Math.min(epochs[epochs.length - 1]!, Math.max(epochs[0]!, selection.epoch)));
    put(this.#now, { x1: x.toFixed(1), x2: x.toFixed(1) });
    const { values, shape } = blocks.grid(this.#measure),
      layers = shape[1]!;
    say(this.#when, `${this.#context.record.unit} ${moment(epochs[at]!)}`);
    this.#values.forEach((text, layer) => say(text, this.#format(values[at * layers + layer]!)));
  }

  #format(value: number): string {
    return !Number.isFinite(value)
      ? "NaN"
      : this.#measure === "cosine_to_previous"
        ? signed(value)
        : this.#measure === "dead_units"
          ? `${(value * 100).toFixed(0)} %`
          : magnitude(value);
  }

  #draw(blocks: Blocks, dark: boolean, line: string): void {
    const { values, shape } = blocks.grid(this.#measure),
      epochs = blocks.numbers("epoch"),
      flags = blocks.numbers("flag"),
      names = blocks.strings("layer"),
      layers = shape[1]!,
      n = epochs.length;
    const { record } = this.#context,
      left = (this.#left =
        Math.min(NAME, Math.max(3, ...names.map((name) => name.length))) * CHARACTER + 12),
      right = Math.max(left + 60, this.#width - RIGHT),
      row = (this.#row = Math.max(
        4,
        Math.min(layers <= 3 ? 68 : layers <= 6 ? 48 : 34, Math.floor(MOST_HEIGHT / layers)),
      )),
      height = row * layers;
    this.#x = linear(
      record.epochs.length ? record.first : epochs[0]!,
      record.epochs.length ? record.last : epochs[n - 1]!,
      left,
      right,
    );
    const tone = toneOf(this.#measure, values),
      stops: readonly Rgb[] = tone.centred ? diverging(dark) : ordered(dark),
      ratio = Math.min(3, devicePixelRatio || 1),
      { style } = this.#canvas;
    this.#canvas.width = Math.round((right - left) * ratio);
    this.#canvas.height = Math.round(height * ratio);
    style.left = `${left}px`;
    style.width = `${right - left}px`;
    style.height = `${height}px`;
    const paper = this.#canvas.getContext("2d"),
      borders = edges(epochs).map((edge) => this.#x(edge) - left);
    if (paper) {
      paper.scale(ratio, ratio);
      fillCells(paper, values, borders, row, (value) => {
        const colour = paint(value, tone, stops);
        return colour ? css(colour) : line;
      });
    }
    const parts: SVGElement[] = [],
      shown = Math.max(1, Math.ceil(13 / row));
    this.#values = [];
    names.forEach((name, layer) => {
      const y = layer * row + row / 2 + 4,
        value = svg("text", { class: "dg-heat-value", x: right + 8, y });
      this.#values.push(value);
      if (layer % shown === 0)
        parts.push(
          svg(
            "text",
            { class: "dg-heat-name", x: left - 8, y, "text-anchor": "end" },
            svg("title", {}, clipped(name, 200)),
            name.length > NAME ? `…${name.slice(1 - NAME)}` : name,
          ),
          value,
        );
    });
    const middles = Array.from(epochs, (epoch) => this.#x(epoch)),
      { glyphs, tally } = flagged(flags, middles, row);
    for (const flag of [1, 2, 3])
      if (glyphs[flag])
        parts.push(svg("path", { class: `dg-flag-cell dg-flag-${flag}`, d: glyphs[flag]! }));
    for (const value of ticks(
      record.first,
      record.last,
      Math.max(2, Math.floor((right - left) / 110)),
    ))
      parts.push(
        svg(
          "text",
          {
            x: this.#x(value),
            y: height + 16,
            "text-anchor": this.#x(value) > right - 12 ? "end" : "middle",
          },
          moment(value),
        ),
      );
    put(this.#when, { x: right + 8, y: height + 16 });
    this.#still.replaceChildren(...parts, this.#when);
    put(this.#marks, { viewBox: `0 0 ${this.#width} ${height + FOOT}`, height: height + FOOT });
    put(this.#now, { y1: 0, y2: height });
    this.#frame.style.height = `${height + FOOT}px`;
    const words = [1, 2, 3]
      .filter((flag) => tally[flag])
      .map(
        (flag) =>
          `${count(tally[flag]!)} ${FLAGS[flag]} ${flag === 1 ? "▽" : flag === 2 ? "△" : "×"}`,
      );
    say(
      this.#summary,
      words.length
        ? `Of ${count(n * layers)} cells ${words.join(", ")}.`
        : `Nothing vanished, exploded or broke at the ${count(n)} recorded moments.`,
    );
    const ramp = el("i", { class: "dg-ramp" });
    ramp.style.background = `linear-gradient(90deg, ${stops.map(css).join(", ")})`;
    this.#legend.replaceChildren(
      el("span", {}, tone.centred ? "−1" : magnitude(tone.low)),
      ramp,
      el(
        "span",
        {},
        `${tone.centred ? "+1" : magnitude(tone.high)}${tone.log ? ", log scale" : ""}`,
      ),
    );
  }

  #cell(event: MouseEvent): [number, number] | null {
    if (!this.#blocks) return null;
    const box = this.#frame.getBoundingClientRect(),
      x = event.clientX - box.left,
      y = event.clientY - box.top,
      layer = Math.floor(y / this.#row),
      layers = this.#blocks.shape(this.#measure)[1]!;
    if (x < this.#left || x > this.#width - RIGHT || layer < 0 || layer >= layers) return null;
    return [indexNearest(this.#blocks.numbers("epoch"), this.#x.invert(x)), layer];
  }

  #describe(event: MouseEvent): void {
    const at = this.#cell(event),
      blocks = this.#blocks;
    if (!at || !blocks) {
      this.#tip.hide();
      return;
    }
    const [i, layer] = at,
      layers = blocks.strings("layer"),
      cell = i * layers.length + layer,
      flag = FLAGS[blocks.numbers("flag")[cell]!],
      box = this.#frame.getBoundingClientRect();
    const lines = [
      `${clipped(layers[layer]!, 60)}`,
      `${this.#context.record.unit} ${moment(blocks.numbers("epoch")[i]!)}`,
    ];
    for (const [name, text] of MEASURES)
      if (blocks.has(name)) {
        const value = blocks.numbers(name)[cell]!;
        lines.push(
          `${text} ${Number.isFinite(value) ? (name === "cosine_to_previous" ? signed(value) : magnitude(value)) : "NaN"}`,
        );
      }
    if (flag) lines.push(flag);
    this.#tip.show(
      event.clientX - box.left,
      event.clientY - box.top,
      box.width,
      Math.max(box.height, 120),
      null,
      lines,
    );
  }

  destroy(): void {
    this.#waiting.destroy();
  }
}

export const gradients: ViewKind = {
  name: "gradients",
  title: "Gradient flow",
  slot: "tabs",
  has: (record) => record.attrs.has_gradients === true,
  lacks:
    "Gradients are recorded by the Recorder, or by GradientFlowAnalyzer; this record has none.",
  make: (context, slot) => new GradientFlow(context, slot),
};
