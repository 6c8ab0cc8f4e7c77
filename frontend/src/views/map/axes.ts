// The axes of the dynamics map: variability along, confidence up.
import { put, svg } from "../../ui/dom";
import type { Fit } from "../evolution/camera";
import { ticks } from "../timeline/axis";

const MOST = 65534; // the largest coordinate of a point

export const LEFT = 52,
  TOP = 6,
  FOOT = 42; // as .dg-map-plot is placed

/** `bounds`: left, right, low, high of the data. */
export function drawAxes(
  axes: SVGSVGElement,
  bounds: ArrayLike<number>,
  fit: Fit,
  width: number,
  height: number,
): void {
  const [left = 0, right = 1, low = 0, high = 1] = Array.from(bounds),
    parts: SVGElement[] = [];
  for (const value of ticks(low, high, 5)) {
    const y = ((value - low) / (high - low)) * MOST * fit.ky + fit.dy + TOP;
    if (y > 0 && y < height + 10)
      parts.push(
        svg("line", { class: "dg-grid", x1: LEFT, x2: width + LEFT, y1: y, y2: y }),
        svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, String(value)),
      );
  }
  for (const value of ticks(left, right, Math.max(2, Math.floor(width / 90)))) {
    const x = ((value - left) / (right - left)) * MOST * fit.kx + fit.dx + LEFT;
    if (x > LEFT - 2 && x < width + LEFT + 2)
      parts.push(
        svg("line", { class: "dg-grid", x1: x, x2: x, y1: TOP, y2: height + TOP }),
        svg("text", { x, y: height + 22, "text-anchor": "middle" }, String(value)),
      );
  }
  const along = { x: LEFT + width / 2, y: height + 37 },
    up = { transform: `translate(11,${TOP + height / 2}) rotate(-90)` },
    name = { class: "dg-axis-name", "text-anchor": "middle" };
  parts.push(
    svg("text", { ...along, ...name }, "variability: how much the probability of its label wavers"),
    svg("text", { ...up, ...name }, "confidence"),
  );
  const size = { width: width + LEFT + 4, height: height + FOOT };
  put(axes, { viewBox: `0 0 ${size.width} ${size.height}`, ...size });
  axes.replaceChildren(...parts);
}
