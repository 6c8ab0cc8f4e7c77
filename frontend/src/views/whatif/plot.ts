// The curves of an answer under the timeline, on its time axis: what was recorded, what is expected, what
// random removals do, and what retraining did.

import { numbersOf, type WhatIf } from "../../data/asking";
import { valueAt } from "../../data/epochs";
import { put, svg } from "../../ui/dom";
import { nats } from "../../ui/format";
import { band, domainOf } from "../chart/layout";
import { linear, path, type Scale, ticks } from "../timeline/axis";

const HEIGHT = 112,
  TOP = 10,
  BOTTOM = 100,
  LEFT = 64,
  RIGHT = 24;

export interface Curves {
  readonly epochs: readonly number[];
  readonly now: Float64Array;
  readonly expected: Float64Array;
  readonly low: Float64Array;
  readonly high: Float64Array;
  readonly randomLow: Float64Array;
  readonly randomHigh: Float64Array;
  readonly true: Float64Array;
}

/** The curves of the test example's output, or of test accuracy. */
export function curvesOf(answer: WhatIf, accuracy = false): Curves {
  const pick = (name: string): Float64Array =>
    numbersOf(answer[(accuracy ? `accuracy_${name}` : name) as "now"]);
  return {
    epochs: answer.epoch,
    now: pick("now"),
    expected: pick("expected"),
    low: pick("low"),
    high: pick("high"),
    randomLow: pick("random_low"),
    randomHigh: pick("random_high"),
    true: pick("true"),
  };
}

/**
 * The moments at which curves have something to say, and where else to leave a gap: what was not measured
 * is bridged, what was and has no value is not.
 */
export function known(
  epochs: readonly number[],
  lists: readonly Float64Array[],
  gaps: ArrayLike<number>,
): number[] {
  const broken = new Set(Array.from(gaps));
  return epochs
    .map((_, i) => i)
    .filter((i) => broken.has(epochs[i]!) || lists.every((list) => Number.isFinite(list[i]!)));
}

/** Bands below, lines above, the truth on top. `scored`: where something could be expected. */
export function drawCurves(
  curves: Curves,
  scored: ArrayLike<number>,
  x: Scale,
  y: (value: number) => number,
  recorded: boolean,
): SVGElement[] {
  const out: SVGElement[] = [];
  const at = (
    lists: readonly Float64Array[],
    gaps: ArrayLike<number>,
  ): { epochs: number[]; lists: number[][] } => {
    const rows = known(curves.epochs, lists, gaps);
    return {
      epochs: rows.map((i) => curves.epochs[i]!),
      lists: lists.map((list) => rows.map((i) => list[i]!)),
    };
  };
  const area = (
    low: Float64Array,
    high: Float64Array,
    kind: string,
    gaps: ArrayLike<number> = [],
  ): void => {
    const { epochs, lists } = at([low, high], gaps);
    if (low.length && high.length)
      out.push(
        svg("path", { class: `dg-whatif-${kind}`, d: band(epochs, lists[0]!, lists[1]!, x, y) }),
      );
  };
  const line = (values: Float64Array, kind: string, gaps: ArrayLike<number> = []): void => {
    if (!values.length) return;
    const { epochs, lists } = at([values], gaps),
      d = path(epochs, lists[0]!, x, y);
    out.push(svg("path", { class: `dg-whatif-line dg-whatif-${kind}`, d }));
  };
  area(curves.randomLow, curves.randomHigh, "random");
  area(curves.low, curves.high, "interval", scored);
  if (recorded) line(curves.now, "now");
  line(curves.expected, "expected", scored);
  line(curves.true, "true");
  return out;
}

export class WhatIfPlot {
  readonly element: SVGSVGElement;
  #still = svg("g");
  #cursor: SVGLineElement;
  #x: Scale = linear(0, 1, 0, 1);
  #width = 0;
  #answer: WhatIf | null = null;
  #scored: ArrayLike<number> = [];

  constructor() {
    this.#cursor = svg("line", { class: "dg-whatif-cursor", y1: 0, y2: BOTTOM });
    this.element = svg(
      "svg",
      { class: "dg-whatif-plot", height: HEIGHT, width: "100%", role: "img" },
      this.#still,
      this.#cursor,
    );
  }

  layout(x: Scale, width: number): void {
    this.#x = x;
    this.#width = width;
    this.#draw();
  }
  set(answer: WhatIf | null, scored: ArrayLike<number>): void {
    if (answer === this.#answer) return;
    this.#answer = answer;
    this.#scored = scored;
    this.#draw();
  }
  update(when: number): void {
    const at = this.#x(when).toFixed(1);
    put(this.#cursor, { x1: at, x2: at });
  }

  #draw(): void {
    const answer = this.#answer;
    if (!answer || !this.#width) return;
    const curves = curvesOf(answer),
      right = this.#width - RIGHT;
    const [low, high] = domainOf([
      { values: curves.now, low: curves.low, high: curves.high },
      { values: curves.expected, low: curves.randomLow, high: curves.randomHigh },
      { values: curves.true },
    ]);
    const y = linear(low, high, BOTTOM, TOP),
      parts: SVGElement[] = [];
    put(this.element, { viewBox: `0 0 ${this.#width} ${HEIGHT}` });
    for (const value of ticks(low, high, 3)) {
      const at = y(value);
      parts.push(
        svg("line", {
          class: value === 0 ? "dg-grid dg-zero" : "dg-grid",
          x1: LEFT,
          x2: right,
          y1: at,
          y2: at,
        }),
        svg("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, value ? nats(value) : "0"),
      );
    }
    parts.push(...drawCurves(curves, this.#scored, this.#x, y, true));
    this.#still.replaceChildren(...parts);
  }
}

/** The value of a curve at a moment, between those at which it has one; see `known`. */
export function at(
  epochs: readonly number[],
  values: Float64Array,
  when: number,
  gaps: ArrayLike<number> = [],
): number {
  const rows = values.length ? known(epochs, [values], gaps) : [];
  if (!rows.length || when < epochs[rows[0]!]! || when > epochs[rows[rows.length - 1]!]!)
    return NaN;
  return valueAt(
    rows.map((i) => epochs[i]!),
    rows.map((i) => values[i]!),
    when,
  );
}
