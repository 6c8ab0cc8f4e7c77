// The moving part of the timeline: a line, its flag, a knob, and a dot where it crosses each curve.
import { valueAt } from "../../data/epochs";
import { put, say, svg } from "../../ui/dom";
import type { Scale } from "./axis";
import type { Line } from "./lines";
import { BOTTOM, TOP, yScale } from "./plot";

const CHARACTER = 7; // of the flag's bold 12 px figures
const EDGE = 12; // between the flag and the board's edge

export class Playhead {
  readonly element: SVGGElement;
  half = 30;
  #flag: SVGGElement;
  #pill: SVGRectElement;
  #text: SVGTextElement;
  #dots: { line: Line; dot: SVGCircleElement }[];
  #y: Scale;
  #drawn: readonly Line[] = [];

  constructor(lines: readonly Line[]) {
    this.#pill = svg("rect", { class: "dg-pill", y: 2, height: 19, rx: 9.5 });
    this.#text = svg("text", { class: "dg-flag", y: 15.5, "text-anchor": "middle" });
    this.#flag = svg("g", {}, this.#pill, this.#text);
    this.#dots = lines.map((line) => ({
      line,
      dot: svg("circle", { class: `dg-dot dg-${line.role}`, r: 3.5 }),
    }));
    this.#y = yScale(lines);
    this.element = svg(
      "g",
      { class: "dg-playhead" },
      svg("line", { x1: 0, x2: 0, y1: 20, y2: BOTTOM + 6 }),
      ...this.#dots.map(({ dot }) => dot),
      svg("circle", { class: "dg-knob", cx: 0, cy: BOTTOM + 7, r: 6 }),
      this.#flag,
    );
  }

  layout(lines: readonly Line[]): void {
    this.#y = yScale(lines);
    this.#drawn = lines;
  }

  update(moment: number, text: string, x: Scale, width: number): void {
    const at = x(moment);
    this.element.setAttribute("transform", `translate(${at.toFixed(2)},0)`);
    say(this.#text, text);
    // the flag only ever grows, so that it does not flicker between 99 and 100
    this.half = Math.max(this.half, (text.length * CHARACTER + 18) / 2);
    put(this.#pill, { x: -this.half, width: 2 * this.half });
    const edge = Math.max(0, this.half + EDGE - at) - Math.max(0, at + this.half + EDGE - width);
    put(this.#flag, { transform: `translate(${edge},0)` });
    for (const { line, dot } of this.#dots) {
      const value = valueAt(line.epochs, line.values, moment);
      put(
        dot,
        Number.isFinite(value) && this.#drawn.includes(line)
          ? { cy: Math.min(BOTTOM, Math.max(TOP, this.#y(value))).toFixed(1), visibility: null }
          : { visibility: "hidden" },
      );
    }
  }
}
