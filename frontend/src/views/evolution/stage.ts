// The canvas of a plot of points: WebGL2 if there is one, else 2D; a lost context is survived.
import { el } from "../../ui/dom";
import type { Context } from "../../view";
import { CanvasPainter } from "./canvas_painter";
import { glPainter } from "./gl_painter";
import type { Frame, Painter } from "./painter";

export class Stage {
  readonly element: HTMLElement;
  #painter: Painter;
  #redraw: () => void;
  #size: [number, number, number] = [1, 1, 1];
  #lost: HTMLCanvasElement | null = null;
  #shown: Frame | null = null;
  #signal: AbortSignal;

  /** `gpu` false leaves the board's one WebGL context to another view. */
  constructor({ signal, redraw, guard }: Context, gpu: boolean) {
    this.#redraw = redraw;
    this.#signal = signal;
    this.element = el("div", { class: "dg-stage", "aria-hidden": "true" });
    this.#painter = (gpu ? this.#webgl(guard) : null) ?? new CanvasPainter(el("canvas"));
    this.#show();
  }

  get name(): string {
    return this.#painter.name;
  }

  size(width: number, height: number): void {
    this.#size = [width, height, Math.min(3, devicePixelRatio || 1)];
    this.#painter.size(...this.#size);
    this.#shown = null;
  }
  /** Draws, unless just this is what it shows. */
  draw(frame: Frame): void {
    if (this.#shown && same(frame, this.#shown)) return;
    this.#shown = frame;
    this.#painter.draw(frame);
  }
  destroy(): void {
    this.#painter.destroy();
  }

  #show(): void {
    this.#painter.size(...this.#size);
    this.#shown = null;
    this.element.replaceChildren(this.#painter.element);
    this.element.dataset.painter = this.#painter.name;
  }

  #webgl(guard: Context["guard"]): Painter | null {
    const canvas = el("canvas"),
      painter = glPainter(canvas);
    if (!painter) return null;
    canvas.addEventListener(
      "webglcontextlost",
      guard((event) => {
        if (this.#signal.aborted) return;
        event.preventDefault(); // or it would never come back
        this.#lost = canvas;
        this.#painter = new CanvasPainter(el("canvas"));
        this.#show();
        this.#redraw();
      }),
      { signal: this.#signal },
    );
    canvas.addEventListener(
      "webglcontextrestored",
      guard(() => {
        if (this.#signal.aborted || this.#lost !== canvas) return;
        this.#lost = null;
        const again = glPainter(canvas);
        if (again) {
          this.#painter = again;
          this.#show();
          this.#redraw();
        }
      }),
      { signal: this.#signal },
    );
    return painter;
  }
}

function same(one: Frame, other: Frame): boolean {
  const { scene: a } = one,
    { scene: b } = other,
    words = (frame: Frame): string =>
      [
        frame.count,
        frame.radius,
        frame.every,
        frame.grey,
        frame.paper,
        frame.moving,
        frame.scene.share,
        ...Object.values(frame.scene.fit),
      ].join();
  return a.a === b.a && a.b === b.b && one.colours === other.colours && words(one) === words(other);
}
