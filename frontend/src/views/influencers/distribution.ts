// How all scores of this test example are spread, so that "top" can be judged.
import type { TestScores } from "../../data/scores";
import { el, put, say, svg } from "../../ui/dom";
import { count } from "../../ui/format";
import type { Words } from "../../ui/words";
import { linear } from "../timeline/axis";

const HEIGHT = 40,
  PAD = 8;

/** The outline of a histogram; heights grow with the root of the count, so that tails can be seen. Pure. */
export function outline(
  counts: ArrayLike<number>,
  start: number,
  bins: number,
  width: number,
  height: number,
): string {
  let most = 0;
  for (let i = 0; i < bins; i++) most = Math.max(most, counts[start + i]!);
  if (!most) return "";
  const step = width / bins;
  let out = `M0,${height}`;
  for (let i = 0; i < bins; i++) {
    const y = height - Math.sqrt(counts[start + i]! / most) * height;
    out += `L${(i * step).toFixed(1)},${y.toFixed(1)}L${((i + 1) * step).toFixed(1)},${y.toFixed(1)}`;
  }
  return `${out}L${width},${height}Z`;
}

export class Distribution {
  readonly element: HTMLElement;
  #picture: SVGSVGElement;
  #area: SVGPathElement;
  #noise: SVGRectElement;
  #helped: SVGPathElement;
  #hurt: SVGPathElement;
  #zero: SVGLineElement;
  #chosen: SVGPathElement;
  #caption: HTMLElement;
  #low: HTMLElement;
  #high: HTMLElement;
  #width = 0;

  constructor() {
    this.#area = svg("path", { class: "dg-area" });
    this.#noise = svg("rect", { class: "dg-noise", y: 0, height: HEIGHT - 6 });
    this.#zero = svg("line", { class: "dg-mark", y1: 0, y2: HEIGHT });
    this.#helped = svg("path", { class: "dg-ticks-helped" });
    this.#hurt = svg("path", { class: "dg-ticks-hurt" });
    this.#chosen = svg("path", { class: "dg-ticks-chosen" });
    this.#picture = svg(
      "svg",
      { height: HEIGHT + 2, width: "100%", "aria-hidden": "true" },
      this.#noise,
      this.#area,
      this.#zero,
      this.#helped,
      this.#hurt,
      this.#chosen,
    );
    this.#low = el("span");
    this.#high = el("span");
    this.#caption = el("span");
    this.element = el(
      "div",
      { class: "dg-distribution" },
      this.#picture,
      el("div", { class: "dg-spread dg-small" }, this.#low, this.#caption, this.#high),
    );
  }

  size(width: number): void {
    this.#width = width;
    put(this.#picture, { viewBox: `0 0 ${width} ${HEIGHT + 2}` });
  }

  update(
    scores: TestScores,
    epoch: number,
    helped: readonly number[],
    hurt: readonly number[],
    chosen: number | null,
    total: number,
    words: Words,
  ): void {
    const scale = scores.scale(epoch),
      width = this.#width;
    this.element.style.visibility = Number.isFinite(scale) && scale > 0 ? "" : "hidden";
    if (!width || !Number.isFinite(scale)) return;
    const inner = width - 2 * PAD,
      x = linear(-scale, scale, PAD, width - PAD),
      { counts, start, bins } = scores.histogram(epoch);
    put(this.#area, {
      d: outline(counts, start, bins, inner, HEIGHT - 6),
      transform: `translate(${PAD},0)`,
    });
    const floor = scores.floor(epoch) * scale;
    put(this.#noise, {
      visibility: Number.isFinite(floor) ? null : "hidden",
      x: Number.isFinite(floor) ? x(-Math.min(floor, scale)).toFixed(1) : 0,
      width: Number.isFinite(floor)
        ? (x(Math.min(floor, scale)) - x(-Math.min(floor, scale))).toFixed(1)
        : 0,
    });
    put(this.#zero, { x1: x(0), x2: x(0), y2: HEIGHT - 6 });
    const marks = (columns: readonly number[], from: number, to: number): string =>
      columns
        .map((column) => `M${x(scores.score(epoch, column)).toFixed(1)},${from}V${to}`)
        .join("");
    put(this.#helped, { d: marks(helped, HEIGHT - 15, HEIGHT) });
    put(this.#hurt, { d: marks(hurt, HEIGHT - 15, HEIGHT) });
    const column = chosen === null ? -1 : scores.train.indexOf(chosen as never);
    put(this.#chosen, {
      d:
        column >= 0 && Number.isFinite(scores.score(epoch, column))
          ? marks([column], 2, HEIGHT)
          : "",
    });
    say(this.#low, words.low(""));
    say(this.#high, words.high(""));
    const noise = Number.isFinite(floor) ? " · grey: as far as noise reaches" : "";
    say(this.#caption, `all ${count(total)} training examples${noise}`);
    this.#caption.title = noise
      ? `If all ${count(total)} scores were noise with the spread of their middle half, the largest would reach to the edge of the grey band in half of all cases.`
      : "";
  }
}
