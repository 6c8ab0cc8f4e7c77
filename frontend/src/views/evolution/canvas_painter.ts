// Points on a 2D canvas: for browsers without WebGL2, and for maps beside the one that has it.
import { shuffled } from "./order";
import { type Frame, GREY, type Painter } from "./painter";
import { Stamps, stampAll } from "./stamp";

/** More than this many points are thinned evenly while they move; at rest all are drawn. */
export const MOST = 30_000;
const FEW = 15_000; // up to here points are drawn as finely as on the GPU

export class CanvasPainter implements Painter {
  readonly name = "canvas";
  readonly element: HTMLCanvasElement;
  #paper: CanvasRenderingContext2D | null;
  #ratio = 1;
  #colours: Uint8Array | null = null;
  #words: Uint32Array = new Uint32Array(0);
  #order: Uint32Array = new Uint32Array(0);
  #image: ImageData | null = null;
  #stamps: Stamps | null = null;

  constructor(element: HTMLCanvasElement) {
    this.element = element;
    this.#paper = element.getContext("2d", { willReadFrequently: true });
  }

  size(width: number, height: number, ratio: number): void {
    this.#ratio = ratio;
    this.#image = null;
    this.element.width = Math.max(1, Math.round(width * ratio));
    this.element.height = Math.max(1, Math.round(height * ratio));
  }

  draw(frame: Frame): void {
    const paper = this.#paper,
      { colours, count } = frame,
      { width, height } = this.element;
    if (!paper) return;
    if (colours !== this.#colours) {
      this.#colours = colours;
      this.#words = new Uint32Array(colours.buffer, colours.byteOffset, count);
      this.#order = greyFirst(this.#words);
    }
    const image = (this.#image ??= paper.createImageData(width, height)),
      every = frame.moving ? Math.max(frame.every, count / MOST) : 1;
    const { radius } = frame,
      few = count <= FEW,
      held = this.#stamps;
    if (held?.radius !== radius || held.ratio !== this.#ratio || held.few !== few)
      this.#stamps = new Stamps(radius, this.#ratio, few);
    stampAll(
      new Uint32Array(image.data.buffer),
      width,
      height,
      frame,
      this.#stamps!,
      this.#words,
      this.#order,
      every,
    );
    paper.putImageData(image, 0, 0);
  }

  destroy(): void {
    this.element.width = this.element.height = 1;
  }
}

/** Grey rows, then the others; either in an order in which no colour lies on top of all others. Pure. */
export function greyFirst(words: Uint32Array): Uint32Array {
  const rows = shuffled(words.length),
    order = new Uint32Array(words.length);
  let at = 0;
  for (const grey of [true, false])
    for (const row of rows) if ((((words[row]! >>> 24) & GREY) !== 0) === grey) order[at++] = row;
  return order;
}
