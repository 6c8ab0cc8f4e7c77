// All margins of the test examples at a moment, as a strip: how many are right, and how far.
import type { Dynamics } from "../../data/dynamics";
import { el, put, say, svg } from "../../ui/dom";
import { count } from "../../ui/format";
import { outline } from "../influencers/distribution";
import { linear } from "../timeline/axis";

const HEIGHT = 22,
  BINS = 48;

/** How many of `n` margins lie in each bin of -scale..scale; what lies beyond is in the outermost. Pure. */
export function binned(
  margin: (position: number) => number,
  n: number,
  scale: number,
  bins = BINS,
): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (let position = 0; position < n; position++) {
    const value = margin(position);
    if (!Number.isFinite(value)) continue;
    const at = Math.floor(((value / scale + 1) / 2) * bins);
    counts[Math.min(bins - 1, Math.max(0, at))]!++;
  }
  return counts;
}

export class MarginStrip {
  readonly element: HTMLElement;
  #picture: SVGSVGElement;
  #area = svg("path", { class: "dg-area" });
  #zero = svg("line", { class: "dg-mark", y1: 0, y2: HEIGHT });
  #chosen = svg("line", { class: "dg-ticks-chosen", y1: 0, y2: HEIGHT });
  #wrong = el("span");
  #right = el("span");
  #width = 0;
  #key = "";

  constructor() {
    this.#picture = svg(
      "svg",
      { height: HEIGHT, width: "100%", "aria-hidden": "true" },
      this.#area,
      this.#zero,
      this.#chosen,
    );
    this.element = el(
      "div",
      { class: "dg-strip", "data-testid": "dg-strip", title: "the margins of all test examples" },
      this.#picture,
      el("div", { class: "dg-spread dg-small" }, this.#wrong, this.#right),
    );
  }

  size(width: number): void {
    this.#width = width;
    this.#key = "";
  }

  update(dynamics: Dynamics | null, now: number, n: number, scale: number, chosen: number): void {
    this.element.hidden = !dynamics;
    if (!dynamics || !this.#width) return;
    const x = linear(-scale, scale, 0, this.#width),
      margin = (position: number): number => dynamics.margin(now, position),
      key = `${now}/${this.#width}/${n}`;
    if (key !== this.#key) {
      this.#key = key;
      put(this.#picture, { viewBox: `0 0 ${this.#width} ${HEIGHT}` });
      put(this.#area, {
        d: outline(binned(margin, n, scale), 0, BINS, this.#width, HEIGHT),
      });
      put(this.#zero, { x1: x(0), x2: x(0) });
      let right = 0;
      for (let position = 0; position < n; position++) if (dynamics.correct(now, position)) right++;
      say(this.#wrong, `${count(n - right)} wrong`);
      say(this.#right, `${count(right)} right`);
    }
    const at = chosen < 0 ? NaN : Math.max(-scale, Math.min(scale, margin(chosen)));
    put(
      this.#chosen,
      Number.isFinite(at) ? { x1: x(at), x2: x(at), visibility: null } : { visibility: "hidden" },
    );
  }
}
