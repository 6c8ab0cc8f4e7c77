// A property of the gainers as bars, with what as many drawn from the whole set would show.
import { el, put, svg } from "../../ui/dom";
import { clipped } from "../../ui/format";
import type { Context } from "../../view";
import type { Bar } from "./gain";

const HEIGHT = 112,
  FOOT = 16;

export class Histogram {
  readonly element: HTMLElement;
  #picture: SVGSVGElement;
  #bars: readonly Bar[] = [];
  #width = 0;

  constructor(context: Context) {
    this.#picture = svg("svg", { height: HEIGHT, width: "100%", role: "img" });
    this.element = el("div", { class: "dg-histogram" }, this.#picture);
    context.onSize(this.element, (width) => {
      this.#width = width;
      this.#draw();
    });
  }

  set(list: readonly Bar[], label: string): void {
    this.#bars = list;
    put(this.#picture, { "aria-label": label });
    this.#draw();
  }

  #draw(): void {
    const width = this.#width,
      list = this.#bars,
      n = list.length;
    if (!width) return;
    put(this.#picture, { viewBox: `0 0 ${width} ${HEIGHT}` });
    const most = Math.max(1, ...list.map((bar) => Math.max(bar.count, bar.expected))),
      step = Math.min(64, width / Math.max(n, 1)),
      bottom = HEIGHT - FOOT,
      parts: SVGElement[] = [];
    const y = (value: number): number => bottom - (value / most) * (bottom - 4);
    list.forEach((bar, i) => {
      const x = i * step,
        inner = Math.max(1, step * 0.7);
      parts.push(
        svg(
          "g",
          {},
          svg(
            "title",
            {},
            `${clipped(bar.name, 200)}: ${bar.count} of the gainers; ${bar.expected.toFixed(1)} expected`,
          ),
          svg("rect", { class: "dg-histogram-hit", x, y: 0, width: step, height: bottom }),
          svg("rect", {
            class: "dg-histogram-bar",
            x: x + step * 0.15,
            y: y(bar.count),
            width: inner,
            height: bottom - y(bar.count),
          }),
          svg("line", {
            class: "dg-histogram-all",
            x1: x,
            x2: x + step,
            y1: y(bar.expected),
            y2: y(bar.expected),
          }),
        ),
      );
    });
    // as many names as have room, the ends always
    const every = Math.max(1, Math.ceil(44 / step));
    list.forEach((bar, i) => {
      if (i % every && i !== n - 1) return;
      if (i !== n - 1 && n - 1 - i < every && i) return;
      parts.push(
        svg(
          "text",
          { x: i * step + step / 2, y: HEIGHT - 3, "text-anchor": "middle" },
          clipped(bar.name, Math.max(3, Math.floor((step * every) / 7))),
        ),
      );
    });
    this.#picture.replaceChildren(...parts);
  }
}
