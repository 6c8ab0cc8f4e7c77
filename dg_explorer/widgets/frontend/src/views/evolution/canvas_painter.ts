// Points on a 2D canvas: for browsers without WebGL2, and for maps beside the one that has it.
import { ABSENT } from "../../data/projection";
import { css } from "./palette";
import { AWAY, type Frame, GREY, type Painter, TEST } from "./painter";

/** More than this many points are thinned evenly. */
export const MOST = 60_000;

export class CanvasPainter implements Painter {
  readonly name = "canvas";
  readonly element: HTMLCanvasElement;
  #paper: CanvasRenderingContext2D | null;
  #width = 1; #height = 1; #ratio = 1;
  #colours: Uint8Array | null = null;
  #order: Uint32Array = new Uint32Array(0);

  constructor(element: HTMLCanvasElement) { this.element = element; this.#paper = element.getContext("2d"); }

  size(width: number, height: number, ratio: number): void {
    this.#width = width; this.#height = height; this.#ratio = ratio;
    this.element.width = Math.max(1, Math.round(width * ratio)); this.element.height = Math.max(1, Math.round(height * ratio));
  }

  draw(frame: Frame): void {
    const paper = this.#paper;
    if (!paper) return;
    const { scene: { a, b, share, fit }, colours, count, radius } = frame, words = new Uint32Array(colours.buffer, colours.byteOffset, count);
    if (colours !== this.#colours) { this.#colours = colours; this.#order = byColour(words); }
    paper.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    paper.clearRect(0, 0, this.#width, this.#height);
    const every = Math.max(frame.every, Math.ceil(count / MOST));
    // thousands of arcs cannot keep up with a moving picture; squares of the same area can
    const quick = frame.moving && count / every > 3000, tiny = quick || radius < 1.4, half = radius * 0.886, full = Math.PI * 2;
    let last = -1, open = false;
    const flush = (): void => {
      if (!open) return;
      open = false;
      if (last & 0xff000000 & (TEST << 24)) paper.stroke(); else paper.fill();
    };
    paper.lineWidth = Math.max(1, radius * 0.42);
    for (let i = 0; i < this.#order.length; i += every) {
      const row = this.#order[i]!, ax = a[2 * row]!, bx = b[2 * row]!, word = words[row]!;
      if (ax === ABSENT || bx === ABSENT || (word >>> 24) & AWAY) continue;
      const x = (ax + (bx - ax) * share) * fit.kx + fit.dx, y = (a[2 * row + 1]! + (b[2 * row + 1]! - a[2 * row + 1]!) * share) * fit.ky + fit.dy;
      if (x < -8 || y < -8 || x > this.#width + 8 || y > this.#height + 8) continue;
      const test = ((word >>> 24) & TEST) !== 0;
      if (word !== last) {
        flush();
        last = word;
        const colour = (word >>> 24) & GREY ? css(frame.grey) : `rgb(${word & 255},${(word >> 8) & 255},${(word >> 16) & 255})`;
        paper.fillStyle = colour; paper.strokeStyle = colour;
        paper.beginPath();
      }
      if (tiny) { if (test) paper.fillRect(x - half * 0.7, y - half * 0.7, half * 1.4, half * 1.4); else paper.fillRect(x - half, y - half, 2 * half, 2 * half); continue; }
      open = true;
      const r = test ? radius * 0.86 : radius;
      paper.moveTo(x + r, y);
      paper.arc(x, y, r, 0, full);
    }
    flush();
  }

  destroy(): void { this.element.width = this.element.height = 1; }
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
