// How an example looks: its picture if it has one, and one line of text.
import type { Face, Picture } from "../data/examples";
import { el, put, say } from "./dom";
import { clipped } from "./format";

/** One line that names an example. */
export function nameOf(face: Face): string {
  if (face.text) return face.text;
  if (face.cells.length && !face.picture)
    return face.cells.map(([name, value]) => `${name} ${value}`).join(" · ");
  return face.label ? `label ${face.label} #${face.id}` : `#${face.id}`;
}

export function paint(
  canvas: HTMLCanvasElement,
  { width, height, channels, bytes }: Picture,
): void {
  canvas.width = width;
  canvas.height = height;
  const paper = canvas.getContext("2d");
  if (!paper) return;
  const image = paper.createImageData(width, height),
    out = image.data;
  for (let i = 0, p = 0; i < width * height; i++, p += channels) {
    out[4 * i] = bytes[p]!;
    out[4 * i + 1] = bytes[channels > 1 ? p + 1 : p]!;
    out[4 * i + 2] = bytes[channels > 2 ? p + 2 : p]!;
    out[4 * i + 3] = channels === 4 ? bytes[p + 3]! : channels === 2 ? bytes[p + 1]! : 255;
  }
  paper.putImageData(image, 0, 0);
}

const LINE = 20,
  BRIEF = 14; // characters

/** The place of a face in a card; filled again as cards are reused. */
export class FaceBox {
  readonly picture: HTMLCanvasElement;
  readonly text: HTMLElement;
  #shown: Face | null = null;
  #brief: boolean;

  /** `brief`: beside a picture the label is name enough. */
  constructor(brief = false) {
    this.#brief = brief;
    this.picture = el("canvas", { class: "dg-picture", hidden: true, width: 1, height: 1 });
    // isolate: right-to-left text must not reorder what stands beside it
    this.text = el("bdi", { class: "dg-name", dir: "auto" });
  }

  /** What there is most of to show: for the style of the card around it. */
  get kind(): "picture" | "long" | null {
    return this.#shown?.picture
      ? "picture"
      : this.text.classList.contains("dg-long")
        ? "long"
        : null;
  }

  fill(face: Face | null): void {
    if (face === this.#shown && face) return;
    this.#shown = face;
    this.picture.hidden = !face?.picture;
    if (face?.picture) {
      paint(this.picture, face.picture);
      put(this.picture, { role: "img", "aria-label": `picture of example ${face.id}` });
      this.picture.classList.toggle(
        "dg-pixels",
        Math.max(face.picture.width, face.picture.height) <= 48,
      );
    }
    const name = !face
      ? ""
      : this.#brief && face.picture && !face.text && face.label
        ? `label ${face.label}`
        : nameOf(face);
    say(this.text, clipped(name, 240));
    this.text.title = clipped(name, 2000);
    this.text.classList.toggle("dg-loading", !face);
    // what does not fit one line gets two, in a lighter hand
    this.text.classList.toggle(
      "dg-long",
      name.length > (this.#brief ? BRIEF : LINE) && !face?.picture,
    );
  }
}
