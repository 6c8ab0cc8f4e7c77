// A tiny curve over training with the current moment marked.
import { valueAt } from "../../data/epochs";
import { put, svg } from "../../ui/dom";
import { linear, path, type Scale } from "../timeline/axis";

export class Spark {
  readonly element: SVGSVGElement;
  #zero = svg("line", { class: "dg-grid", x1: 0 });
  #curve = svg("path", { class: "dg-tiny-curve" });
  #dot = svg("circle", { class: "dg-tiny-dot", r: 2.6 });
  #epochs: ArrayLike<number> = [];
  #values: ArrayLike<number> = [];
  #x: Scale = linear(0, 1, 0, 1);
  #y: Scale = linear(0, 1, 0, 1);
  #width: number;
  #height: number;

  constructor(width = 116, height = 22) {
    this.#width = width;
    this.#height = height;
    this.element = svg(
      "svg",
      { class: "dg-tiny", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
      this.#zero,
      this.#curve,
      this.#dot,
    );
  }

  /** `size` puts several sparks on one scale. */
  fill(
    epochs: ArrayLike<number>,
    values: ArrayLike<number>,
    first: number,
    last: number,
    size?: number,
  ): void {
    this.#epochs = epochs;
    this.#values = values;
    let low = size ? -size : 0,
      high = size ?? 0;
    if (!size)
      for (let i = 0; i < values.length; i++)
        if (Number.isFinite(values[i]!)) {
          low = Math.min(low, values[i]!);
          high = Math.max(high, values[i]!);
        }
    if (high - low === 0) high = low + 1;
    this.#x = linear(first, last, 4, this.#width - 4);
    this.#y = linear(low, high, this.#height - 3.5, 3.5);
    put(this.#zero, { x2: this.#width, y1: this.#y(0).toFixed(1), y2: this.#y(0).toFixed(1) });
    put(this.#curve, { d: path(epochs, values, this.#x, this.#y) });
  }

  mark(moment: number): void {
    const value = valueAt(this.#epochs, this.#values, moment),
      first = this.#epochs[0] ?? moment,
      last = this.#epochs[this.#epochs.length - 1] ?? moment;
    put(
      this.#dot,
      Number.isFinite(value)
        ? {
            cx: this.#x(Math.min(Math.max(moment, first), last)).toFixed(1),
            cy: this.#y(value).toFixed(1),
            visibility: null,
          }
        : { visibility: "hidden" },
    );
  }
}
