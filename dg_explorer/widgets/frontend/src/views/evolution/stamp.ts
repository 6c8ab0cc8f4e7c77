// Many small points straight into pixels: thousands of canvas calls a frame take seconds, this takes
// milliseconds. Pure but for the array it writes to.
import { ABSENT } from "../../data/projection";
import { AWAY, type Frame, GREY, TEST } from "./painter";

/** The pixels of a small mark around its centre, and how much of each it covers (0..255). */
export interface Stamp { readonly dx: Int8Array; readonly dy: Int8Array; readonly cover: Uint8Array }

/** A disc, or a ring of the same outer radius, in device pixels. */
export function stamp(radius: number, ring: boolean): Stamp {
  const reach = Math.ceil(radius), width = Math.max(1, radius * 0.45), dx: number[] = [], dy: number[] = [], cover: number[] = [];
  for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) {
    const far = Math.hypot(x, y), outer = Math.min(1, Math.max(0, radius - far + 0.5)), inner = ring ? Math.min(1, Math.max(0, far - (radius - width) + 0.5)) : 1, share = outer * inner;
    if (share > 0.08) { dx.push(x); dy.push(y); cover.push(Math.round(share * 255)); }
  }
  return { dx: Int8Array.from(dx), dy: Int8Array.from(dy), cover: Uint8Array.from(cover) };
}

/** Draws the rows of a frame in an order into `pixels` (r, g, b, a as one little-endian word each). */
export function stampAll(pixels: Uint32Array, width: number, height: number, ratio: number, frame: Frame, words: Uint32Array, order: Uint32Array, every: number): void {
  const { scene: { a, b, share, fit }, radius, grey } = frame, disc = stamp(radius * ratio, false), ring = stamp(radius * ratio, true), reach = Math.ceil(radius * ratio);
  const faint = (Math.round(grey[2]) << 16) | (Math.round(grey[1]) << 8) | Math.round(grey[0]);
  pixels.fill(0);
  for (let i = 0; i < order.length; i += every) {
    const row = order[i]!, ax = a[2 * row]!, bx = b[2 * row]!, word = words[row]!, state = word >>> 24;
    if (ax === ABSENT || bx === ABSENT || state & AWAY) continue;
    const ay = a[2 * row + 1]!, x = Math.round(((ax + (bx - ax) * share) * fit.kx + fit.dx) * ratio), y = Math.round(((ay + (b[2 * row + 1]! - ay) * share) * fit.ky + fit.dy) * ratio);
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const { dx, dy, cover } = state & TEST ? ring : disc, colour = state & GREY ? faint : word & 0xffffff;
    for (let k = 0; k < cover.length; k++) {
      const at = (y + dy[k]!) * width + x + dx[k]!, c = cover[k]!;
      if (c > 200) { pixels[at] = (0xff000000 | colour) >>> 0; continue; }
      // an edge lies over what is there already: only bare paper takes it
      if (pixels[at]! >>> 24 < c) pixels[at] = ((c << 24) | colour) >>> 0;
    }
  }
}
