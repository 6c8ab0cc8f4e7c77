// Above the points: the chosen test example's ring, lines to its influencers (rings around those of a
// question, which has no place of its own), names, marks, the lasso.
import { el } from "../../ui/dom";
import type { Theme } from "../../ui/theme";
import type { Named } from "./names";

export interface Link {
  readonly to: Spot;
  readonly helps: boolean;
  readonly strength: number;
}
export type Spot = readonly [number, number];
export interface Marks {
  readonly test: Spot | null;
  readonly train: Spot | null;
  readonly hover: Spot | null;
  readonly links: readonly Link[];
  readonly names: readonly Named[];
}

export class Overlay {
  readonly element = el("canvas", { class: "dg-overlay", "aria-hidden": "true" });
  #width = 0;
  #height = 0;
  #ratio = 1;
  #shown: { marks: Marks; theme: Theme } | null = null;
  #outline: readonly number[] | null = null;

  size(width: number, height: number): void {
    this.#width = width;
    this.#height = height;
    this.#ratio = Math.min(3, devicePixelRatio || 1);
    this.element.width = Math.max(1, Math.round(width * this.#ratio));
    this.element.height = Math.max(1, Math.round(height * this.#ratio));
  }

  update(marks: Marks, theme: Theme): void {
    this.#shown = { marks, theme };
    this.#draw();
  }

  draft(outline: readonly number[] | null): void {
    this.#outline = outline;
    this.#draw();
  }

  #draw(): void {
    const paper = this.element.getContext("2d");
    if (!paper || !this.#shown) return;
    const {
      marks: { test, train, hover, links, names },
      theme,
    } = this.#shown;
    paper.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    paper.clearRect(0, 0, this.#width, this.#height);
    paper.lineCap = "round";
    paper.globalAlpha = 0.85;
    for (const { to, helps, strength } of test ? links : []) {
      const width = 0.8 + 1.6 * strength;
      stroke(paper, theme.colour(helps ? "helped" : "hurt"), width, helps ? [] : [4, 3]);
      paper.beginPath();
      paper.moveTo(...test!);
      paper.lineTo(...to);
      paper.stroke();
    }
    paper.globalAlpha = 1;
    paper.lineCap = "butt";
    for (const { to, helps } of test ? [] : links) {
      // on a ground of their own: among points of all colours a thin ring is not seen
      stroke(paper, theme.colour("bg"), 6);
      circle(paper, to, 9);
      stroke(paper, theme.colour(helps ? "helped" : "hurt"), 2.6, helps ? [] : [4, 2.5]);
      circle(paper, to, 9);
    }
    paper.lineJoin = "round";
    paper.font = `650 13px ${theme.colour("font")}`;
    paper.textAlign = "center";
    paper.fillStyle = theme.colour("fg");
    stroke(paper, theme.colour("bg"), 4);
    for (const { name, x, y } of names) {
      paper.strokeText(name, x, y);
      paper.fillText(name, x, y);
    }
    for (const [at, radius, width, dash] of [
      [train, 7.5, 1.8, [3, 2]],
      [test, 9, 2.2, []],
      [hover, 6.5, 1.4, []],
    ] as const) {
      if (!at) continue;
      stroke(paper, theme.colour("fg"), width, dash);
      circle(paper, at, radius);
    }
    if (this.#outline) this.#lasso(paper, this.#outline, theme.colour("accent"));
  }

  #lasso(paper: CanvasRenderingContext2D, outline: readonly number[], colour: string): void {
    paper.beginPath();
    for (let i = 0; i < outline.length; i += 2) paper.lineTo(outline[i]!, outline[i + 1]!);
    paper.closePath();
    paper.globalAlpha = 0.1;
    paper.fillStyle = colour;
    paper.fill();
    paper.globalAlpha = 1;
    stroke(paper, colour, 1.5, [4, 3]);
    paper.stroke();
  }
}

function circle(paper: CanvasRenderingContext2D, at: Spot, radius: number): void {
  paper.beginPath();
  paper.arc(at[0], at[1], radius, 0, 2 * Math.PI);
  paper.stroke();
}

function stroke(
  paper: CanvasRenderingContext2D,
  colour: string,
  width: number,
  dash: readonly number[] = [],
): void {
  paper.strokeStyle = colour;
  paper.lineWidth = width;
  paper.setLineDash([...dash]);
}
