// The pointer and keys over a plot of points: hover, click, lasso, rectangle, pan, zoom, neighbours.
import { focusedIn } from "../../focus";
import type { Context } from "../../view";
import { type Camera, HOME, type Panel, panned, zoomed } from "./camera";

export type Tool = "lasso" | "rectangle" | "pan";

export interface Plot {
  readonly area: HTMLElement;
  readonly tool: () => Tool;
  readonly panel: () => Panel;
  readonly camera: () => Camera;
  setCamera(camera: Camera): void;
  hover(x: number, y: number): void;
  leave(): void;
  click(x: number, y: number, add: boolean): void;
  /** The outline so far, in pixels; null when the drag ended without one. */
  draft(outline: readonly number[] | null): void;
  enclose(outline: readonly number[], add: boolean): void;
  /** Move the keyboard's mark towards a direction. */
  step(x: -1 | 0 | 1, y: -1 | 0 | 1): void;
  choose(add: boolean): void;
}

export function gestures(plot: Plot, { signal, guard }: Context): void {
  const { area } = plot;
  const at = (event: MouseEvent): [number, number] => {
    const box = area.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let from: [number, number] | null = null,
    dragging = false,
    outline: number[] = [];

  area.addEventListener(
    "pointerdown",
    guard((event) => {
      if (event.button !== 0) return;
      area.focus({ preventScroll: true });
      area.setPointerCapture(event.pointerId);
      from = at(event);
      dragging = false;
      outline = [...from];
    }),
    { signal },
  );
  area.addEventListener(
    "pointermove",
    guard((event) => {
      const [x, y] = at(event);
      if (!from) {
        plot.hover(x, y);
        return;
      }
      if (!dragging && Math.hypot(x - from[0], y - from[1]) < 4) return;
      if (!dragging) {
        dragging = true;
        plot.leave();
      }
      if (plot.tool() === "pan") {
        plot.setCamera(panned(plot.camera(), event.movementX, event.movementY, plot.panel()));
        return;
      }
      if (plot.tool() === "rectangle") outline = [from[0], from[1], x, from[1], x, y, from[0], y];
      else outline.push(x, y);
      plot.draft(outline);
    }),
    { signal },
  );
  area.addEventListener(
    "pointerup",
    guard((event) => {
      if (!from) return;
      const [x, y] = at(event),
        drag = dragging;
      from = null;
      dragging = false;
      plot.draft(null);
      if (!drag) plot.click(x, y, event.shiftKey);
      else if (plot.tool() !== "pan" && outline.length >= 6) plot.enclose(outline, event.shiftKey);
    }),
    { signal },
  );
  area.addEventListener(
    "pointercancel",
    guard(() => {
      from = null;
      plot.draft(null);
    }),
    { signal },
  );
  area.addEventListener(
    "pointerleave",
    guard(() => {
      if (!from) plot.leave();
    }),
    { signal },
  );
  area.addEventListener(
    "wheel",
    guard((event) => {
      // an unfocused plot lets the page scroll
      if (focusedIn(area) !== area || event.ctrlKey) return;
      event.preventDefault();
      plot.setCamera(
        zoomed(
          plot.camera(),
          Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0022)),
          ...at(event),
          plot.panel(),
        ),
      );
    }),
    { signal, passive: false },
  );
  area.addEventListener(
    "dblclick",
    guard(() => plot.setCamera(HOME)),
    { signal },
  );
  area.addEventListener(
    "keydown",
    guard((event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const panel = plot.panel(),
        { width, height } = panel,
        middle = [width / 2, height / 2] as const;
      const steps: { [key: string]: readonly [-1 | 0 | 1, -1 | 0 | 1] } = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1],
      };
      const step = steps[event.key];
      if (step && event.shiftKey)
        plot.setCamera(
          panned(plot.camera(), -step[0] * width * 0.15, -step[1] * height * 0.15, panel),
        );
      else if (step) plot.step(...step);
      else if (event.key === "+" || event.key === "=")
        plot.setCamera(zoomed(plot.camera(), 1.3, ...middle, panel));
      else if (event.key === "-") plot.setCamera(zoomed(plot.camera(), 1 / 1.3, ...middle, panel));
      else if (event.key === "0") plot.setCamera(HOME);
      else if (event.key === "Enter") plot.choose(event.shiftKey);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }),
    { signal },
  );
}
