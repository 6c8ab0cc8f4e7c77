// One training example's score over all epochs, small, with the current moment marked.
import { valueAt } from "../../data/epochs";
import type { TestScores } from "../../data/scores";
import { put, svg } from "../../ui/dom";
import { linear, path, type Scale } from "../timeline/axis";

export const WIDTH = 92, HEIGHT = 20;

export class Sparkline {
  readonly element: SVGSVGElement;
  #zero: SVGLineElement; #curve: SVGPathElement; #dot: SVGCircleElement;
  #values: Float64Array = new Float64Array(0);
  #epochs: ArrayLike<number> = [];
  #x: Scale = linear(0, 1, 0, 1); #y: Scale = linear(0, 1, 0, 1);

  constructor() {
    this.#zero = svg("line", { class: "dg-grid", x1: 0, x2: WIDTH });
    this.#curve = svg("path", { class: "dg-spark-curve" });
    this.#dot = svg("circle", { class: "dg-spark-dot", r: 2.6 });
    this.element = svg("svg", { class: "dg-spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" }, this.#zero, this.#curve, this.#dot);
  }

  fill(scores: TestScores, column: number, first: number, last: number): void {
    this.#epochs = scores.epochs;
    this.#values = Float64Array.from({ length: scores.epochs.length }, (_, i) => scores.score(i, column));
    let low = 0, high = 0;
    for (const value of this.#values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
    if (high - low === 0) high = 1;
    this.#x = linear(first, last, 4, WIDTH - 4);
    this.#y = linear(low, high, HEIGHT - 3.5, 3.5);
    put(this.#zero, { y1: this.#y(0).toFixed(1), y2: this.#y(0).toFixed(1) });
    put(this.#curve, { d: path(this.#epochs, this.#values, this.#x, this.#y) });
  }

  mark(moment: number): void {
    const value = valueAt(this.#epochs, this.#values, moment);
    const last = this.#epochs[this.#epochs.length - 1] ?? moment, at = Math.min(Math.max(moment, this.#epochs[0] ?? moment), last);
    put(this.#dot, Number.isFinite(value) ? { cx: this.#x(at).toFixed(1), cy: this.#y(value).toFixed(1), visibility: null } : { visibility: "hidden" });
  }
}
