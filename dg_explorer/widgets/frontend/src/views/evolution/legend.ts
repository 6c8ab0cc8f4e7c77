// What shapes, colours and lines mean, under the plot.
import { el, put, say } from "../../ui/dom";
import { clipped, count } from "../../ui/format";
import type { Legend } from "./colouring";

export class LegendStrip {
  readonly element: HTMLElement;
  #shapes: HTMLElement; #colours: HTMLElement; #said = "";

  constructor(...shapes: HTMLElement[]) {
    this.#shapes = el("div", { class: "dg-legend-shapes" }, ...shapes);
    this.#colours = el("div", { class: "dg-legend-colours" });
    this.element = el("div", { class: "dg-scatter-legend" }, this.#shapes, this.#colours);
  }

  /** Rename a line's sign; the words follow how far the scores may be believed. */
  name(kind: string, text: string): void {
    const item = this.#shapes.querySelector(`[data-sign=${kind}] > span`);
    if (item) say(item, text);
  }

  update(legend: Legend): void {
    const said = JSON.stringify(legend);
    if (said === this.#said) return;
    this.#said = said;
    if (legend.kind === "bar") {
      const ramp = el("i", { class: "dg-ramp" });
      ramp.style.background = `linear-gradient(90deg, ${legend.stops.join(", ")})`;
      this.#colours.replaceChildren(el("span", {}, legend.low), ramp, el("span", {}, legend.high), ...(legend.note ? [el("span", {}, legend.note)] : []));
      return;
    }
    this.#colours.replaceChildren(
      ...legend.items.map(({ colour, text }) => { const dot = el("i", { class: "dg-swatch" }); dot.style.background = colour; return el("span", { class: "dg-swatch-key" }, dot, el("bdi", { dir: "auto", title: clipped(text, 600) }, clipped(text, 24))); }),
      ...(legend.more ? [el("span", {}, `and ${count(legend.more)} more`)] : []));
  }
}

/** A legend's sign: a filled or hollow dot, or a line. */
export function sign(kind: "disc" | "ring" | "helps" | "hurts" | "grey", text: string): HTMLElement {
  const mark = el("i", { class: `dg-sign dg-sign-${kind}`, "aria-hidden": "true" });
  const item = el("span", { class: "dg-swatch-key" }, mark, el("span", {}, text));
  put(item, { "data-sign": kind });
  return item;
}
