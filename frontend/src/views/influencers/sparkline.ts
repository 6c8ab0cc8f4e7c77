// One training example's score over all epochs, small, with the current moment marked; under it, where
// that is recorded, when in training its influence was laid down.
import { valueAt } from "../../data/epochs";
import type { Exposure, TestScores } from "../../data/scores";
import { put, svg } from "../../ui/dom";
import { moment as named } from "../../ui/format";
import { linear, path, type Scale } from "../timeline/axis";

export const WIDTH = 84,
  HEIGHT = 20,
  STRIP = 5; // and a gap of one above it

/** The windows that hold most of an influence, in words: "mostly between step 60 and 120". Pure. */
export function exposureWords({ shares, edges, at }: Exposure, unit: string): string {
  const sizes = Array.from(shares, Math.abs),
    all = sizes.reduce((a, b) => a + b, 0);
  if (!all) return "";
  // the shortest stretch of windows that holds half of it
  let best: [number, number] | null = null;
  for (let from = 0; from < sizes.length; from++) {
    let held = 0;
    for (let to = from; to < sizes.length; to++) {
      held += sizes[to]!;
      if (held < all / 2) continue;
      const length = edges[to + 1]! - edges[from]!;
      if (!best || length < edges[best[1] + 1]! - edges[best[0]]!) best = [from, to];
      break;
    }
  }
  if (!best) return "";
  const [from, to] = [edges[best[0]]!, edges[best[1] + 1]!];
  return `laid down mostly between ${unit} ${named(from)} and ${named(to)} (what it did by ${unit} ${named(at)})`;
}

export class Sparkline {
  readonly element: SVGSVGElement;
  #zero: SVGLineElement;
  #curve: SVGPathElement;
  #dot: SVGPathElement;
  #strip: SVGGElement;
  #values: Float64Array = new Float64Array(0);
  #epochs: ArrayLike<number> = [];
  #x: Scale = linear(0, 1, 0, 1);
  #y: Scale = linear(0, 1, 0, 1);

  constructor() {
    this.#zero = svg("line", { class: "dg-grid", x1: 0, x2: WIDTH });
    this.#curve = svg("path", { class: "dg-spark-curve" });
    this.#dot = svg("path", { class: "dg-spark-dot" });
    this.#strip = svg("g", { class: "dg-exposure" });
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
      this.#strip,
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
    this.#lay(scores.exposure(column));
  }

  #lay(exposure: Exposure | null): void {
    const height = exposure ? HEIGHT + STRIP + 1 : HEIGHT,
      bare = exposure === null;
    put(this.element, { viewBox: `0 0 ${WIDTH} ${height}`, height });
    if (bare && !this.#strip.firstChild) return;
    this.#strip.replaceChildren(
      ...(exposure
        ? Array.from(exposure.shares, (share, i) => {
            const from = this.#x(exposure.edges[i]!),
              to = this.#x(exposure.edges[i + 1]!);
            return svg("rect", {
              class: share < 0 ? "dg-exposure-down" : "dg-exposure-up",
              x: from.toFixed(1),
              y: HEIGHT + 1,
              width: Math.max(0.5, to - from - 0.5).toFixed(1),
              height: STRIP,
              "fill-opacity": (0.08 + 0.92 * Math.abs(share)).toFixed(2),
            });
          })
        : []),
    );
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
