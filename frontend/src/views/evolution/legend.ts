// What shapes, colours and lines mean, under the plot. A kind's name chooses its examples.
import { el, put, say } from "../../ui/dom";
import { clipped, count } from "../../ui/format";
import type { Legend, Swatch } from "./colouring";

export class LegendStrip {
  readonly element: HTMLElement;
  #shapes: HTMLElement;
  #colours: HTMLElement;
  #said = "";
  /** Called with the code of the kind that was clicked, and whether Shift adds it. */
  pick: ((code: number, add: boolean) => void) | null = null;

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
    // the text of a key may follow the moment; the key itself stays, and keeps the focus
    const said = JSON.stringify(
      legend.kind === "swatches"
        ? [legend.more, legend.items.map(({ colour, code, text }) => [colour, code ?? text])]
        : legend,
    );
    if (said === this.#said) {
      if (legend.kind === "swatches")
        this.#colours
          .querySelectorAll("bdi")
          .forEach((name, i) => say(name, clipped(legend.items[i]!.text, 24)));
      return;
    }
    this.#said = said;
    if (legend.kind === "bar") {
      const ramp = el("i", { class: "dg-ramp" });
      ramp.style.background = `linear-gradient(90deg, ${legend.stops.join(", ")})`;
      this.#colours.replaceChildren(
        el("span", {}, legend.low),
        ramp,
        el("span", {}, legend.high),
        ...(legend.note ? [el("span", {}, legend.note)] : []),
      );
      return;
    }
    this.#colours.replaceChildren(
      ...legend.items.map((swatch) => this.#key(swatch)),
      ...(legend.more ? [el("span", {}, `and ${count(legend.more)} more`)] : []),
    );
  }

  #key({ colour, text, code }: Swatch): HTMLElement {
    const dot = el("i", { class: "dg-swatch" }),
      name = el("bdi", { dir: "auto", title: clipped(text, 600) }, clipped(text, 24));
    dot.style.background = colour;
    if (code === undefined || !this.pick) return el("span", { class: "dg-swatch-key" }, dot, name);
    const key = el(
      "button",
      {
        type: "button",
        class: "dg-swatch-key",
        "data-code": code,
        "aria-pressed": "false",
        title: `${clipped(text, 600)}: click selects these examples, Shift adds them, another click clears`,
      },
      dot,
      name,
    );
    key.addEventListener("click", (event) => this.pick?.(code, event.shiftKey));
    return key;
  }

  /** Mark the kinds that are chosen. */
  press(codes: ReadonlySet<number>): void {
    for (const key of this.#colours.querySelectorAll<HTMLElement>("[data-code]"))
      put(key, { "aria-pressed": String(codes.has(Number(key.dataset.code))) });
  }
}

/** A legend's sign: a filled or hollow dot, or a line. */
export function sign(
  kind: "disc" | "ring" | "helps" | "hurts" | "grey",
  text: string,
): HTMLElement {
  const mark = el("i", { class: `dg-sign dg-sign-${kind}`, "aria-hidden": "true" });
  const item = el("span", { class: "dg-swatch-key" }, mark, el("span", {}, text));
  put(item, { "data-sign": kind });
  return item;
}
