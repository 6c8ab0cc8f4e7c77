// What draws points: one interface, WebGL2 where there is one, else a 2D canvas.
import type { Rgb } from "./palette";
import type { Scene } from "./where";

/** The alpha byte of a point's colour holds its state. */
export const TEST = 1,
  GREY = 2,
  AWAY = 4;

export interface Frame {
  readonly scene: Scene;
  readonly count: number;
  /** r, g, b, state of each row; a new array whenever anything in it changed. */
  readonly colours: Uint8Array;
  readonly radius: number;
  /** Draw one in `every` rows only; 1 or more, not always whole. */
  readonly every: number;
  readonly grey: Rgb;
  readonly paper: Rgb;
  readonly moving: boolean;
}

export interface Painter {
  readonly name: "webgl" | "canvas";
  readonly element: HTMLCanvasElement;
  size(width: number, height: number, ratio: number): void;
  draw(frame: Frame): void;
  destroy(): void;
}

/** The radius of points in CSS pixels: fewer and closer points are larger. Pure. */
export function radiusFor(count: number, zoom: number): number {
  const base =
    count <= 1200 ? 3.8 : count <= 4000 ? 3.1 : count <= 15000 ? 2.3 : count <= 80000 ? 1.6 : 1.1;
  return Math.min(7, base * zoom ** 0.35);
}
