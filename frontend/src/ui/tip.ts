// A small card beside the pointer: who this is, and a few facts.
import type { Face } from "../data/examples";
import { el } from "./dom";
import { FaceBox } from "./face";

export class Tip {
  readonly element: HTMLElement;
  #face = new FaceBox();
  #lines: HTMLElement;

  constructor() {
    this.#lines = el("div", { class: "dg-tip-lines" });
    this.element = el(
      "div",
      { class: "dg-tip", hidden: true, "aria-hidden": "true" },
      this.#face.picture,
      el("div", { class: "dg-tip-body" }, this.#face.text, this.#lines),
    );
  }

  /** `face` null leaves the name out; undefined shows that it is on its way. */
  show(
    x: number,
    y: number,
    width: number,
    height: number,
    face: Face | null | undefined,
    lines: readonly string[],
  ): void {
    const { element } = this;
    this.#face.text.hidden = face === null;
    if (face !== null) this.#face.fill(face ?? null);
    else this.#face.picture.hidden = true;
    this.#lines.replaceChildren(...lines.map((line) => el("span", {}, line)));
    element.hidden = false;
    // beside the pointer, on the side with room
    const w = element.offsetWidth,
      h = element.offsetHeight;
    const left = x + 14 + w <= width ? x + 14 : x - 14 - w,
      top = y + 14 + h <= height ? y + 14 : y - 14 - h;
    element.style.transform = `translate(${Math.round(Math.max(0, Math.min(left, width - w)))}px,${Math.round(Math.max(0, Math.min(top, height - h)))}px)`;
  }
  hide(): void {
    this.element.hidden = true;
  }
}
