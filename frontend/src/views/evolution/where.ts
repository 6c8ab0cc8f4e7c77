// Where examples are at a moment, and which of them a pointer or a lasso means. Pure.
import { ABSENT } from "../../data/projection";
import type { Fit } from "./camera";

/** Positions of two recorded epochs, the share between them, and how they lie in the panel. */
export interface Scene {
  readonly a: Uint16Array;
  readonly b: Uint16Array;
  readonly share: number;
  readonly fit: Fit;
}

/** Pixel of a row, or null where it has no position at either end. */
export function pixel({ a, b, share, fit }: Scene, row: number): [number, number] | null {
  const ax = a[2 * row]!,
    bx = b[2 * row]!;
  if (ax === undefined || ax === ABSENT || bx === ABSENT) return null;
  return [
    (ax + (bx - ax) * share) * fit.kx + fit.dx,
    (a[2 * row + 1]! + (b[2 * row + 1]! - a[2 * row + 1]!) * share) * fit.ky + fit.dy,
  ];
}

/** The row closest to a pixel within `reach`, among rows that `among` accepts; -1 if none. */
export function nearest(
  scene: Scene,
  count: number,
  x: number,
  y: number,
  reach: number,
  among: (row: number) => boolean = () => true,
): number {
  const { a, b, share, fit } = scene;
  let best = -1,
    least = reach * reach;
  for (let row = 0; row < count; row++) {
    const ax = a[2 * row]!,
      ay = a[2 * row + 1]!,
      bx = b[2 * row]!;
    if (ax === ABSENT || bx === ABSENT) continue;
    const dx = (ax + (bx - ax) * share) * fit.kx + fit.dx - x;
    if (dx > reach || dx < -reach) continue;
    const dy = (ay + (b[2 * row + 1]! - ay) * share) * fit.ky + fit.dy - y,
      d = dx * dx + dy * dy;
    if (d <= least && among(row)) {
      least = d;
      best = row;
    }
  }
  return best;
}

/** The next row from a pixel in a direction (unit vector): near, and not far off the line. */
export function towards(
  scene: Scene,
  count: number,
  x: number,
  y: number,
  ux: number,
  uy: number,
  except: number,
): number {
  let best = -1,
    least = Infinity;
  for (let row = 0; row < count; row++) {
    if (row === except) continue;
    const at = pixel(scene, row);
    if (!at) continue;
    const dx = at[0] - x,
      dy = at[1] - y,
      ahead = dx * ux + dy * uy,
      aside = Math.abs(dx * uy - dy * ux);
    if (ahead <= 0.5 || aside > ahead) continue;
    const cost = ahead + 2 * aside;
    if (cost < least) {
      least = cost;
      best = row;
    }
  }
  return best;
}

/** Even-odd test; `outline` is x, y, x, y ... */
export function inside(outline: readonly number[], x: number, y: number): boolean {
  let is = false;
  for (let i = 0, j = outline.length - 2; i < outline.length; j = i, i += 2) {
    const yi = outline[i + 1]!,
      yj = outline[j + 1]!;
    if (yi > y !== yj > y && x < ((outline[j]! - outline[i]!) * (y - yi)) / (yj - yi) + outline[i]!)
      is = !is;
  }
  return is;
}

/** Rows within an outline of pixels. */
export function within(scene: Scene, count: number, outline: readonly number[]): number[] {
  let left = Infinity,
    right = -Infinity,
    top = Infinity,
    bottom = -Infinity;
  for (let i = 0; i < outline.length; i += 2) {
    left = Math.min(left, outline[i]!);
    right = Math.max(right, outline[i]!);
    top = Math.min(top, outline[i + 1]!);
    bottom = Math.max(bottom, outline[i + 1]!);
  }
  const rows: number[] = [];
  for (let row = 0; row < count; row++) {
    const at = pixel(scene, row);
    if (
      at &&
      at[0] >= left &&
      at[0] <= right &&
      at[1] >= top &&
      at[1] <= bottom &&
      inside(outline, at[0], at[1])
    )
      rows.push(row);
  }
  return rows;
}
