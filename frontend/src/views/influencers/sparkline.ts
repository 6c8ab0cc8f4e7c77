// One training example's score over all epochs, small, with the current moment marked.
import { valueAt } from "../../data/epochs";
import type { TestScores } from "../../data/scores";
import { put, svg } from "../../ui/dom";
import { linear, path, type Scale } from "../timeline/axis";

export const WIDTH = 84,
  HEIGHT = 20;

export class Sparkline {
  readonly element: SVGSVGElement;
  #zero: SVGLineElement;
  #curve: SVGPathElement;
  #dot: SVGPathElement;
  #values: Float64Array = new Float64Array(0);
  #epochs: ArrayLike<number> = [];
  #x: Scale = linear(0, 1, 0, 1);
  #y: Scale = linear(0, 1, 0, 1);

  constructor() {
    this.#zero = svg("line", { class: "dg-grid", x1: 0, x2: WIDTH });
    this.#curve = svg("path", { class: "dg-spark-curve" });
    this.#dot = svg("path", { class: "dg-spark-dot" });
    this.element = svg(
      "svg",
      {
        class: "dg-spark",
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        width: "100%",
        height: HEIGHT,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      },
      this.#zero,
      this.#curve,
      this.#dot,
    );
  }

  /** In shares of the largest score of each epoch, as the bars are; `raw`: on the scale of the whole run. */
  fill(scores: TestScores, column: number, first: number, last: number, raw: boolean): void {
    this.#epochs = scores.epochs;
    const largest = raw ? scores.largest || 1 : 1;
    this.#values = Float64Array.from({ length: scores.epochs.length }, (_, i) =>
      raw ? scores.score(i, column) / largest : scores.share(i, column),
    );
    let low = 0,
      high = 0;
    for (const value of this.#values)
      if (Number.isFinite(value)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    // a faint course stays faint
    if (high - low < 0.5) {
      const more = (0.5 - high + low) / 2;
      low -= low < 0 ? more : 0;
      high += high > 0 || low === 0 ? more : 0;
    }
    this.#x = linear(first, last, 4, WIDTH - 4);
    this.#y = linear(low, high, HEIGHT - 3.5, 3.5);
    put(this.#zero, { y1: this.#y(0).toFixed(1), y2: this.#y(0).toFixed(1) });
    put(this.#curve, { d: path(this.#epochs, this.#values, this.#x, this.#y) });
  }

  mark(moment: number): void {
    const value = valueAt(this.#epochs, this.#values, moment);
    const last = this.#epochs[this.#epochs.length - 1] ?? moment,
      at = Math.min(Math.max(moment, this.#epochs[0] ?? moment), last);
    put(
      this.#dot,
      Number.isFinite(value)
        ? { d: `M${this.#x(at).toFixed(1)},${this.#y(value).toFixed(1)}h0`, visibility: null }
        : { visibility: "hidden" },
    );
  }
}
