// How an example looks: its picture if it has one, and one line of text.
import type { Face, Picture } from "../data/examples";
import { el, put, say } from "./dom";
import { clipped, ending } from "./format";

const SHORT = 24; // a text of so many characters is name enough

export interface Parts {
  /** What tells the example apart: never cut. */
  readonly lead: string;
  readonly rest: string;
  /** Whether the end of the rest matters as much as its beginning. */
  readonly ends: boolean;
}

/** What tells an example apart, and what else there is to say of it. */
export function partsOf(face: Face): Parts {
  const { text, label, picture } = face,
    cells = face.cells.map(([name, value]) => `${name} ${value}`).join(" · ");
  if (!face.name && text && text.length <= SHORT) return { lead: text, rest: "", ends: false };
  const lead = face.name ?? `#${face.id}`;
  if (text) return { lead, rest: text, ends: true };
  return cells && !picture ? { lead, rest: cells, ends: false } : { lead, rest: label, ends: true };
}

/** One line that names an example. */
export function nameOf(face: Face): string {
  const { lead, rest } = partsOf(face);
  return rest ? `${lead} ${rest}` : lead;
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

const LINE = 26, // characters
  END = 10, // of a long text stay at its end
  LEAD = 12,
  LEAD_END = 6;

/** Text that is cut in the middle where there is no room: what differs may stand at either end. */
class MiddleCut {
  readonly element: HTMLElement;
  #start = el("span", { class: "dg-start" });
  #end = el("span", { class: "dg-end" });

  constructor(name: string) {
    this.element = el("bdi", { class: name, dir: "auto" }, this.#start, this.#end);
  }

  /** `last`: how many characters at the end stay; 0 cuts at the end. */
  fill(text: string, last: number): void {
    const end = last ? ending(text, last) : "";
    say(this.#start, clipped(text.slice(0, text.length - end.length), 240));
    say(this.#end, end);
  }
}

/** The place of a face in a card; filled again as cards are reused. */
export class FaceBox {
  readonly picture: HTMLCanvasElement;
  readonly text: HTMLElement;
  #lead = new MiddleCut("dg-lead");
  #rest = new MiddleCut("dg-rest");
  #shown: Face | null = null;

  constructor() {
    this.picture = el("canvas", { class: "dg-picture", hidden: true, width: 1, height: 1 });
    // bdi isolates: right-to-left text must not reorder what stands beside it
    this.text = el("span", { class: "dg-name" }, this.#lead.element, this.#rest.element);
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
    const { lead, rest, ends } = face ? partsOf(face) : { lead: "", rest: "", ends: false };
    this.#lead.fill(lead, lead.length > LEAD ? LEAD_END : 0);
    this.#rest.fill(rest, ends && rest.length > LINE ? END : 0);
    this.#rest.element.hidden = !rest;
    this.text.title = face ? clipped(nameOf(face), 2000) : "";
    this.text.classList.toggle("dg-loading", !face);
    this.text.classList.toggle("dg-long", rest.length > LINE && !face?.picture);
  }
}
