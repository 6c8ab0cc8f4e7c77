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

/** Bands below, lines above, the truth on top. */
export function drawCurves(
  curves: Curves,
  x: Scale,
  y: (value: number) => number,
  recorded: boolean,
): SVGElement[] {
  const { epochs } = curves,
    out: SVGElement[] = [];
  const area = (low: Float64Array, high: Float64Array, kind: string): void => {
    if (low.length && high.length)
      out.push(svg("path", { class: `dg-whatif-${kind}`, d: band(epochs, low, high, x, y) }));
  };
  const line = (values: Float64Array, kind: string): void => {
    if (!values.length) return;
    out.push(
      svg("path", { class: `dg-whatif-line dg-whatif-${kind}`, d: path(epochs, values, x, y) }),
    );
  };
  area(curves.randomLow, curves.randomHigh, "random");
  area(curves.low, curves.high, "interval");
  if (recorded) line(curves.now, "now");
  line(curves.expected, "expected");
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
  set(answer: WhatIf | null): void {
    if (answer === this.#answer) return;
    this.#answer = answer;
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
    parts.push(...drawCurves(curves, this.#x, y, true));
    this.#still.replaceChildren(...parts);
  }
}

/** What a curve says at a moment, in the unit of the output. */
export function said(epochs: readonly number[], values: Float64Array, when: number): string {
  const value = values.length ? valueAt(epochs, values, when) : NaN;
  return Number.isFinite(value) ? nats(value) : "";
}
