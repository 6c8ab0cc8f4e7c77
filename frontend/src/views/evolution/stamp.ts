// Points straight into pixels: a canvas call for each takes ten times as long, even for a thousand.
// Pure but for the array it writes to.
import { ABSENT } from "../../data/projection";
import { AWAY, type Frame, GREY, TEST } from "./painter";

/** The pixels of a small mark around its centre, how much of each it covers, and how much with its edge of paper (0..255). */
export interface Stamp {
  readonly dx: Int8Array;
  readonly dy: Int8Array;
  readonly cover: Uint8Array;
  readonly whole: Uint8Array;
}

const FINE = 4; // places between two pixels where few points may lie: they glide instead of hopping

/** A disc, or a ring of the same outer radius, in device pixels, its centre at a part of a pixel; `edge`: how wide an edge of paper parts it from its neighbours. */
export function stamp(radius: number, ring: boolean, ox = 0, oy = 0, edge = 0): Stamp {
  const reach = Math.ceil(radius + edge + 0.5),
    width = Math.max(1, radius * 0.42),
    dx: number[] = [],
    dy: number[] = [],
    cover: number[] = [],
    whole: number[] = [];
  for (let y = -reach; y <= reach; y++)
    for (let x = -reach; x <= reach; x++) {
      const far = Math.hypot(x - ox, y - oy),
        disc = Math.min(1, Math.max(0, radius - far + 0.5)),
        share = ring ? disc * Math.min(1, Math.max(0, far - (radius - width) + 0.5)) : disc;
      const most =
        ring || !edge
          ? share
          : Math.max(share, Math.min(1, Math.max(0, radius + edge - far + 0.5)) * 0.55);
      if (most > 0.08) {
        dx.push(x);
        dy.push(y);
        cover.push(Math.round(share * 255));
        whole.push(Math.round(most * 255));
      }
    }
  return {
    dx: Int8Array.from(dx),
    dy: Int8Array.from(dy),
    cover: Uint8Array.from(cover),
    whole: Uint8Array.from(whole),
  };
}

/** Discs and rings, a mark at each of `fine` by `fine` places between pixels. */
export class Stamps {
  readonly discs: Stamp[];
  readonly rings: Stamp[];
  readonly fine: number;
  readonly reach: number;

  constructor(
    readonly radius: number,
    readonly ratio: number,
    readonly few: boolean,
  ) {
    const fine = (this.fine = few ? FINE : 1),
      edge = few ? 0.8 * ratio : 0,
      place = (i: number): number => (i + 0.5) / fine - 0.5;
    this.reach = Math.ceil(radius * ratio + edge + 0.5);
    [this.discs, this.rings] = [false, true].map((ring) =>
      Array.from({ length: fine * fine }, (_, i) =>
        stamp(radius * ratio, ring, place(i % fine), place(Math.floor(i / fine)), edge),
      ),
    ) as [Stamp[], Stamp[]];
  }
}

/** Draws the rows of a frame in an order into `pixels` (r, g, b, a as one little-endian word each). */
export function stampAll(
  pixels: Uint32Array,
  width: number,
  height: number,
  frame: Frame,
  { discs, rings, fine, reach, ratio, few }: Stamps,
  words: Uint32Array,
  order: Uint32Array,
  every: number,
): void {
  const {
    scene: { a, b, share, fit },
    grey: [gr, gg, gb],
    paper,
  } = frame;
  const faint = (Math.round(gb) << 16) | (Math.round(gg) << 8) | Math.round(gr);
  pixels.fill(0);
  for (let i = 0; i < order.length; i += every) {
    const row = order[i | 0]!,
      ax = a[2 * row]!,
      bx = b[2 * row]!,
      ink = words[row]!,
      state = ink >>> 24;
    if (ax === ABSENT || bx === ABSENT || state & AWAY) continue;
    const ay = a[2 * row + 1]!,
      px = ((ax + (bx - ax) * share) * fit.kx + fit.dx) * ratio,
      py = ((ay + (b[2 * row + 1]! - ay) * share) * fit.ky + fit.dy) * ratio;
    // pixel x holds what lies between x and x + 1
    const x = px | 0,
      y = py | 0;
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const { dx, dy, cover, whole } = (state & TEST ? rings : discs)[
        fine * (((py - y) * fine) | 0) + (((px - x) * fine) | 0)
      ]!,
      colour = state & GREY ? faint : ink & 0xffffff;
    for (let k = 0; k < cover.length; k++) {
      const at = (y + dy[k]!) * width + x + dx[k]!,
        c = cover[k]!;
      if (c > 250) pixels[at] = (0xff000000 | colour) >>> 0;
      else if (few) pixels[at] = over(pixels[at]!, colour, c, paper, whole[k]! - c);
      // of a crowd an edge lies over what is there already: only bare paper takes it
      else if (pixels[at]! >>> 24 < c) pixels[at] = ((c << 24) | colour) >>> 0;
    }
  }
}

/** So much of a colour and so much paper (0..255 each) laid over a pixel. */
function over(
  below: number,
  colour: number,
  much: number,
  paper: readonly [number, number, number],
  white: number,
): number {
  if (!below && !white) return ((much << 24) | colour) >>> 0;
  const under = (((below >>> 24) * (255 - much - white)) / 255) | 0,
    alpha = much + white + under,
    part = 1 / alpha;
  const r = ((colour & 255) * much + paper[0] * white + (below & 255) * under) * part;
  const g = (((colour >> 8) & 255) * much + paper[1] * white + ((below >> 8) & 255) * under) * part;
  const b =
    (((colour >> 16) & 255) * much + paper[2] * white + ((below >> 16) & 255) * under) * part;
  return ((alpha << 24) | ((b + 0.5) << 16) | ((g + 0.5) << 8) | (r + 0.5)) >>> 0;
}
