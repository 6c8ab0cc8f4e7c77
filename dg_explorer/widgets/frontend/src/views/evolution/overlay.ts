// Above the points: the chosen test example's ring, lines to its influencers, marks, the lasso.
import { put, svg } from "../../ui/dom";
import { Names } from "./names";

export interface Link { readonly to: readonly [number, number]; readonly helps: boolean; readonly strength: number }
type Spot = readonly [number, number] | null;

export class Overlay {
  readonly element: SVGSVGElement;
  readonly names = new Names();
  #lines: SVGGElement; #test: SVGCircleElement; #train: SVGCircleElement; #hover: SVGCircleElement; #draft: SVGPathElement;
  #pool: SVGLineElement[] = [];

  constructor() {
    this.#lines = svg("g");
    this.#test = svg("circle", { class: "dg-ring dg-ring-test", r: 9 });
    this.#train = svg("circle", { class: "dg-ring dg-ring-train", r: 7.5 });
    this.#hover = svg("circle", { class: "dg-ring dg-ring-hover", r: 6.5 });
    this.#draft = svg("path", { class: "dg-lasso" });
    this.element = svg("svg", { class: "dg-overlay", "aria-hidden": "true" }, this.#lines, this.names.element, this.#train, this.#test, this.#hover, this.#draft);
  }

  size(width: number, height: number): void { put(this.element, { viewBox: `0 0 ${width} ${height}`, width, height }); }

  update(test: Spot, train: Spot, hover: Spot, links: readonly Link[]): void {
    spot(this.#test, test); spot(this.#train, train); spot(this.#hover, hover);
    const shown = test ? links : [];
    while (this.#pool.length < shown.length) { const line = svg("line"); this.#pool.push(line); this.#lines.append(line); }
    this.#pool.forEach((line, i) => {
      const link = shown[i];
      if (!link || !test) { put(line, { visibility: "hidden" }); return; }
      put(line, {
        visibility: null, class: link.helps ? "dg-link dg-link-helps" : "dg-link dg-link-hurts", "stroke-width": (0.8 + 1.6 * link.strength).toFixed(2),
        x1: test[0].toFixed(1), y1: test[1].toFixed(1), x2: link.to[0].toFixed(1), y2: link.to[1].toFixed(1),
      });
    });
  }

  draft(outline: readonly number[] | null): void {
    let path = "";
    if (outline) for (let i = 0; i < outline.length; i += 2) path += `${i ? "L" : "M"}${outline[i]!.toFixed(1)},${outline[i + 1]!.toFixed(1)}`;
    put(this.#draft, { d: path ? `${path}Z` : null });
  }
}

function spot(circle: SVGCircleElement, at: Spot): void {
  put(circle, at ? { cx: at[0].toFixed(1), cy: at[1].toFixed(1), visibility: null } : { visibility: "hidden" });
}
