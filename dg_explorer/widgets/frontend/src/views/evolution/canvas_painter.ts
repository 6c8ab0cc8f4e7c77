// Points on a 2D canvas: for browsers without WebGL2, and for maps beside the one that has it.
import { css } from "./palette";
import { AWAY, type Frame, GREY, type Painter, TEST } from "./painter";
import { stampAll } from "./stamp";
import { pixel } from "./where";

/** More than this many points are thinned evenly. */
export const MOST = 60_000;
const DRAWN = 3000; // up to here one canvas call a point, finely; beyond, straight into pixels

export class CanvasPainter implements Painter {
  readonly name = "canvas";
  readonly element: HTMLCanvasElement;
  #paper: CanvasRenderingContext2D | null;
  #width = 1; #height = 1; #ratio = 1;
  #colours: Uint8Array | null = null;
  #words: Uint32Array = new Uint32Array(0);
  #order: Uint32Array = new Uint32Array(0);
  #image: ImageData | null = null;

  constructor(element: HTMLCanvasElement) { this.element = element; this.#paper = element.getContext("2d", { willReadFrequently: true }); }

  size(width: number, height: number, ratio: number): void {
    this.#width = width; this.#height = height; this.#ratio = ratio; this.#image = null;
    this.element.width = Math.max(1, Math.round(width * ratio)); this.element.height = Math.max(1, Math.round(height * ratio));
  }

  draw(frame: Frame): void {
    const paper = this.#paper, { colours, count } = frame, { width, height } = this.element;
    if (!paper) return;
    if (colours !== this.#colours) { this.#colours = colours; this.#words = new Uint32Array(colours.buffer, colours.byteOffset, count); this.#order = count > DRAWN ? greyFirst(this.#words) : byColour(this.#words); }
    const every = Math.max(frame.every, Math.ceil(count / MOST));
    if (count > DRAWN) {
      const image = (this.#image ??= paper.createImageData(width, height));
      stampAll(new Uint32Array(image.data.buffer), width, height, this.#ratio, frame, this.#words, this.#order, every);
      paper.putImageData(image, 0, 0);
      return;
    }
    paper.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    paper.clearRect(0, 0, this.#width, this.#height);
    this.#finely(paper, frame, every);
  }

  #finely(paper: CanvasRenderingContext2D, frame: Frame, every: number): void {
    const { radius } = frame, words = this.#words;
    let last = -1;
    const flush = (): void => { if (last < 0) return; if ((last >>> 24) & TEST) paper.stroke(); else paper.fill(); };
    paper.lineWidth = Math.max(1, radius * 0.42);
    for (let i = 0; i < this.#order.length; i += every) {
      const row = this.#order[i]!, word = words[row]!, state = word >>> 24, at = state & AWAY ? null : pixel(frame.scene, row);
      if (!at) continue;
      if (word !== last) {
        flush();
        last = word;
        paper.fillStyle = paper.strokeStyle = state & GREY ? css(frame.grey) : `rgb(${word & 255},${(word >> 8) & 255},${(word >> 16) & 255})`;
        paper.beginPath();
      }
      const r = state & TEST ? radius * 0.86 : radius;
      paper.moveTo(at[0] + r, at[1]);
      paper.arc(at[0], at[1], r, 0, Math.PI * 2);
    }
    flush();
  }

  destroy(): void { this.element.width = this.element.height = 1; }
}

/** Grey rows, then the others in their own order: of a crowd no colour may lie on top of all others. Pure. */
export function greyFirst(words: Uint32Array): Uint32Array {
  const order = new Uint32Array(words.length);
  let at = 0;
  for (const grey of [true, false]) words.forEach((word, row) => { if (((word >>> 24) & GREY) !== 0 === grey) order[at++] = row; });
  return order;
}

/** Rows with equal colours together, grey ones first, so that a colour is set once. Pure. */
export function byColour(words: Uint32Array): Uint32Array {
  const order = new Uint32Array(words.length), kinds = new Map<number, number>();
  for (const word of words) kinds.set(word, (kinds.get(word) ?? 0) + 1);
  const rank = [...kinds.keys()].sort((p, q) => ((q >>> 24) & GREY) - ((p >>> 24) & GREY) || p - q), starts = new Map<number, number>();
  let at = 0;
  for (const word of rank) { starts.set(word, at); at += kinds.get(word)!; }
  words.forEach((word, row) => { const place = starts.get(word)!; order[place] = row; starts.set(word, place + 1); });
  return order;
}
