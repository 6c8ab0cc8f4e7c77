// From quantised coordinates to pixels and back: one scale for both axes, pan and zoom. Pure.
import { ABSENT } from "../../data/projection";

/** `x`, `y` in 0..1 of what the base shows. */
export interface Camera {
  readonly zoom: number;
  readonly x: number;
  readonly y: number;
}
export const HOME: Camera = { zoom: 1, x: 0.5, y: 0.5 };
const MARGIN = 14,
  NEAREST = 200,
  MOST = ABSENT - 1;

/** The quantised square as it lies in a panel: pixel = quantised * k + offset; y points up in data. */
export interface Fit {
  readonly kx: number;
  readonly ky: number;
  readonly dx: number;
  readonly dy: number;
}

/** The part of the quantised square (0..1) that a panel shows at zoom 1: its middle, and half its width and height. */
export interface Base {
  readonly x: number;
  readonly y: number;
  readonly across: number;
  readonly up: number;
}
export const WHOLE: Base = { x: 0.5, y: 0.5, across: 0.5, up: 0.5 };

/** A panel in pixels; `fill` stretches each axis to it, for axes that do not share a unit. */
export interface Panel {
  readonly width: number;
  readonly height: number;
  readonly fill?: boolean;
  readonly base?: Base;
}

/** The base between those of two recorded epochs (x, y, across, up each), so that the picture breathes and never jumps. */
export function baseAt(
  frames: ArrayLike<number>,
  before: number,
  after: number,
  share: number,
): Base {
  const at = (i: number): number =>
    frames[4 * before + i]! + (frames[4 * after + i]! - frames[4 * before + i]!) * share;
  return { x: at(0), y: at(1), across: at(2), up: at(3) };
}

export function fit(camera: Camera, { width, height, fill = false, base = WHOLE }: Panel): Fit {
  const wide = Math.max(1, width - 2 * MARGIN) / (2 * base.across),
    high = Math.max(1, height - 2 * MARGIN) / (2 * base.up),
    least = Math.min(wide, high);
  const sx = (fill ? wide : least) * camera.zoom,
    sy = (fill ? high : least) * camera.zoom;
  const x = base.x + (2 * camera.x - 1) * base.across,
    y = base.y + (2 * camera.y - 1) * base.up;
  return { kx: sx / MOST, ky: -sy / MOST, dx: width / 2 - x * sx, dy: height / 2 + y * sy };
}

/** The camera in whose middle a place of the quantised square (0..1) lies. */
function centred(zoom: number, u: number, v: number, base: Base): Camera {
  return bounded({
    zoom,
    x: 0.5 + (u - base.x) / (2 * base.across),
    y: 0.5 + (v - base.y) / (2 * base.up),
  });
}

export function zoomed(
  camera: Camera,
  factor: number,
  px: number,
  py: number,
  panel: Panel,
): Camera {
  const zoom = Math.min(NEAREST, Math.max(1, camera.zoom * factor)),
    now = fit(camera, panel),
    then = fit({ ...camera, zoom }, panel);
  const u = (px - now.dx) / now.kx / MOST,
    v = (py - now.dy) / now.ky / MOST;
  // what lay under the pointer stays under it
  return centred(
    zoom,
    u - (px - panel.width / 2) / (then.kx * MOST),
    v - (py - panel.height / 2) / (then.ky * MOST),
    panel.base ?? WHOLE,
  );
}

export function panned(camera: Camera, byX: number, byY: number, panel: Panel): Camera {
  const now = fit(camera, panel);
  return centred(
    camera.zoom,
    (panel.width / 2 - byX - now.dx) / now.kx / MOST,
    (panel.height / 2 - byY - now.dy) / now.ky / MOST,
    panel.base ?? WHOLE,
  );
}

/** The camera that brings pixels seen through another to the whole panel; `spots` is x, y, x, y ... */
export function around(camera: Camera, spots: readonly number[], panel: Panel): Camera {
  let left = Infinity,
    right = -Infinity,
    top = Infinity,
    bottom = -Infinity;
  for (let i = 0; i < spots.length; i += 2) {
    left = Math.min(left, spots[i]!);
    right = Math.max(right, spots[i]!);
    top = Math.min(top, spots[i + 1]!);
    bottom = Math.max(bottom, spots[i + 1]!);
  }
  if (!(right >= left)) return camera;
  const { width, height, base = WHOLE } = panel,
    now = fit(camera, panel);
  // a single example is not worth more than a close look
  const factor = Math.min(
    (width - 4 * MARGIN) / Math.max(right - left, 1),
    (height - 4 * MARGIN) / Math.max(bottom - top, 1),
    12 / camera.zoom,
  );
  return centred(
    Math.max(1, camera.zoom * factor),
    ((left + right) / 2 - now.dx) / now.kx / MOST,
    ((top + bottom) / 2 - now.dy) / now.ky / MOST,
    base,
  );
}

function bounded(camera: Camera): Camera {
  if (camera.zoom <= 1) return HOME;
  const clamp = (value: number): number => Math.min(1, Math.max(0, value));
  return { zoom: camera.zoom, x: clamp(camera.x), y: clamp(camera.y) };
}
