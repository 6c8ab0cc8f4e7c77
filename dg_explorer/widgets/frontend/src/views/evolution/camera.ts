// From quantised coordinates to pixels and back: one scale for both axes, pan and zoom. Pure.
import { ABSENT } from "../../data/projection";

export interface Camera { readonly zoom: number; readonly x: number; readonly y: number }
export const HOME: Camera = { zoom: 1, x: 0.5, y: 0.5 };
const MARGIN = 14, NEAREST = 200;

/** The quantised square as it lies in a panel: pixel = quantised * k + offset; y points up in data. */
export interface Fit { readonly kx: number; readonly ky: number; readonly dx: number; readonly dy: number }

/** The part of the quantised square (0..1) that a panel shows at zoom 1. */
export interface Base { readonly x: number; readonly y: number; readonly half: number }
export const WHOLE: Base = { x: 0.5, y: 0.5, half: 0.5 };

/** The base between those of two recorded epochs (x, y, half each), so that the picture breathes and never jumps. */
export function baseAt(frames: ArrayLike<number>, before: number, after: number, share: number): Base {
  const at = (i: number): number => frames[3 * before + i]! + (frames[3 * after + i]! - frames[3 * before + i]!) * share;
  return { x: at(0), y: at(1), half: at(2) };
}

/** `fill` stretches each axis to the panel, for axes that do not share a unit. */
export function fit(camera: Camera, width: number, height: number, fill = false, base = WHOLE): Fit {
  const w = Math.max(1, width - 2 * MARGIN), h = Math.max(1, height - 2 * MARGIN), side = Math.min(w, h);
  const sx = (fill ? w : side) * camera.zoom, sy = (fill ? h : side) * camera.zoom, extent = 2 * base.half, most = ABSENT - 1;
  return {
    kx: sx / extent / most, ky: -sy / extent / most,
    dx: width / 2 - (camera.x + (base.x - base.half) / extent) * sx, dy: height / 2 + (camera.y + (base.y - base.half) / extent) * sy,
  };
}

export function zoomed(camera: Camera, factor: number, px: number, py: number, width: number, height: number, fill = false): Camera {
  const zoom = Math.min(NEAREST, Math.max(1, camera.zoom * factor));
  const now = fit(camera, width, height, fill), most = ABSENT - 1;
  const u = (px - now.dx) / now.kx / most, v = (py - now.dy) / now.ky / most;
  const then = fit({ ...camera, zoom }, width, height, fill);
  // what lay under the pointer stays under it
  return bounded({ zoom, x: u - (px - width / 2) / (then.kx * most), y: v - (py - height / 2) / (then.ky * most) });
}

export function panned(camera: Camera, byX: number, byY: number, width: number, height: number, fill = false): Camera {
  const now = fit(camera, width, height, fill), most = ABSENT - 1;
  return bounded({ zoom: camera.zoom, x: camera.x - byX / (now.kx * most), y: camera.y - byY / (now.ky * most) });
}

function bounded(camera: Camera): Camera {
  if (camera.zoom <= 1) return HOME;
  const clamp = (value: number): number => Math.min(1, Math.max(0, value));
  return { zoom: camera.zoom, x: clamp(camera.x), y: clamp(camera.y) };
}
