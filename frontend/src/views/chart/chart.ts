// A small line chart over training: named at the line's end, a band for an interval, the moment marked.
import { indexNearest, valueAt } from "../../data/epochs";
import { el, put, say, svg } from "../../ui/dom";
import { clipped, moment } from "../../ui/format";
import type { Context } from "../../view";
import { linear, path, type Scale, ticks } from "../timeline/axis";
import { apart, band, domainOf } from "./layout";

export interface Series {
  readonly name: string;
  readonly colour: string;
  readonly epochs: ArrayLike<number>;
  readonly values: ArrayLike<number>;
  readonly low?: ArrayLike<number>;
  readonly high?: ArrayLike<number>;
  readonly strong?: boolean;
  readonly dash?: string;
}
export interface Settings {
  readonly label: string;
  readonly first: number;
  readonly last: number;
  readonly unit: string;
  /** Ends of the vertical axis; from the values where left out. Zero is always within. */
  readonly low?: number;
  readonly high?: number;
  readonly height?: number;
  /** Values alone at the lines' ends, where a legend names them. */
  readonly bare?: boolean;
  readonly format: (value: number) => string;
  /** Times of this chart as people read them; plain numbers by default. */
  readonly time?: (value: number) => string;
}
const LEFT = 46,
  TOP = 8,
  FOOT = 20,
  CHARACTER = 6.5,
  VALUE = 54,
  LONGEST = 28;

export class Chart {
  readonly element: HTMLElement;
  #picture: SVGSVGElement;
  #still: SVGGElement;
  #cursor: SVGGElement;
  #line: SVGLineElement;
  #dots: SVGCircleElement[] = [];
  #names: { text: SVGTextElement; value: SVGTSpanElement }[] = [];
  #series: readonly Series[] = [];
  #settings: Settings;
  #x: Scale = linear(0, 1, 0, 1);
  #y: Scale = linear(0, 1, 0, 1);
  #width = 0;
  #right = VALUE;

  constructor(context: Context, settings: Settings, pick?: (moment: number) => void) {
    this.#settings = settings;
    this.#still = svg("g");
    this.#line = svg("line", { class: "dg-chart-now", y1: TOP });
    this.#cursor = svg("g", {}, this.#line);
    this.#picture = svg(
      "svg",
      { height: this.#height, width: "100%", role: "img", "aria-label": settings.label },
      this.#still,
      this.#cursor,
    );
    this.element = el("div", { class: "dg-chart" }, this.#picture);
    context.onSize(this.element, (width) => {
      if (width && Math.abs(width - this.#width) > 0.5) {
        this.#width = width;
        this.#layout();
        context.redraw();
      }
    });
    if (pick) {
      this.element.classList.add("dg-chart-pick");
      this.element.addEventListener(
        "click",
        context.guard((event) =>
          pick(this.#x.invert(event.clientX - this.#picture.getBoundingClientRect().left)),
        ),
        { signal: context.signal },
      );
    }
  }

  get #height(): number {
    return this.#settings.height ?? 168;
  }
  get #bottom(): number {
    return this.#height - FOOT;
  }

  set(series: readonly Series[], settings: Partial<Settings> = {}): void {
    this.#series = series;
    this.#settings = { ...this.#settings, ...settings };
    put(this.#picture, { "aria-label": this.#settings.label });
    this.#layout();
  }

  update(when: number): void {
    if (!this.#width) return;
    const at = this.#x(Math.min(this.#settings.last, Math.max(this.#settings.first, when)));
    put(this.#line, { x1: at.toFixed(1), x2: at.toFixed(1), y2: this.#bottom });
    this.#series.forEach((one, i) => {
      const value = valueAt(one.epochs, one.values, when),
        shown = Number.isFinite(value),
        y = shown ? this.#clamp(this.#y(value)) : 0;
      put(
        this.#dots[i]!,
        shown
          ? { cx: at.toFixed(1), cy: y.toFixed(1), visibility: null }
          : { visibility: "hidden" },
      );
      const recorded = one.epochs.length ? one.values[indexNearest(one.epochs, when)]! : NaN;
      say(
        this.#names[i]!.value,
        `${this.#settings.bare || !one.name ? "" : " "}${Number.isFinite(recorded) ? this.#settings.format(recorded) : "–"}`,
      );
    });
  }

  #clamp(y: number): number {
    return Math.min(this.#bottom, Math.max(TOP, y));
  }

  #layout(): void {
    const width = this.#width,
      { first, last, format } = this.#settings;
    if (!width) return;
    // names get the room they need, but leave the curves the larger half
    const longest = this.#settings.bare
      ? 0
      : Math.max(0, ...this.#series.map(({ name }) => Math.min(name.length, LONGEST)));
    this.#right = Math.min(longest * CHARACTER + VALUE, Math.max(VALUE, width * 0.5));
    const right = Math.max(LEFT + 40, width - this.#right),
      bottom = this.#bottom;
    put(this.#picture, { viewBox: `0 0 ${width} ${this.#height}` });
    const [low, high] = domainOf(this.#series, this.#settings.low, this.#settings.high);
    this.#x = linear(first, last, LEFT, right);
    this.#y = linear(low, high, bottom, TOP);
    const parts: SVGElement[] = [];
    for (const value of ticks(low, high, 3)) {
      const y = this.#y(value);
      parts.push(
        svg("line", {
          class: value === 0 && low < 0 ? "dg-grid dg-zero" : "dg-grid",
          x1: LEFT,
          x2: right,
          y1: y,
          y2: y,
        }),
        svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, format(value)),
      );
    }
    const times = ticks(first, last, Math.max(2, Math.floor((right - LEFT) / 90)));
    if (right - this.#x(times[times.length - 1]!) > 32) times.push(last);
    for (const value of times)
      parts.push(
        svg(
          "text",
          { x: this.#x(value), y: this.#height - 5, "text-anchor": "middle" },
          (this.#settings.time ?? moment)(value),
        ),
      );
    for (const one of this.#series)
      if (one.low && one.high)
        parts.push(
          svg("path", {
            class: "dg-chart-band",
            d: band(one.epochs, one.low, one.high, this.#x, (v) => this.#clamp(this.#y(v))),
            fill: one.colour,
          }),
        );
    const y = (value: number): number => this.#clamp(this.#y(value));
    for (const one of this.#series) {
      parts.push(
        svg("path", {
          class: one.strong ? "dg-chart-line dg-strong" : "dg-chart-line",
          stroke: one.colour,
          "stroke-dasharray": one.dash || null,
          d: path(one.epochs, one.values, this.#x, y),
        }),
      );
      if (one.epochs.length <= 12)
        for (let i = 0; i < one.epochs.length; i++)
          if (Number.isFinite(one.values[i]!))
            parts.push(
              svg("circle", {
                r: 2.2,
                fill: one.colour,
                cx: this.#x(one.epochs[i]!),
                cy: y(one.values[i]!),
              }),
            );
    }
    const ends = apart(
      this.#series.map((one) => {
        for (let i = one.values.length - 1; i >= 0; i--)
          if (Number.isFinite(one.values[i]!)) return y(one.values[i]!);
        return bottom;
      }),
      13,
      TOP + 4,
      bottom,
    );
    const room = Math.max(3, Math.floor((this.#right - VALUE + 2) / CHARACTER));
    this.#names = this.#series.map((one, i) => {
      const value = svg("tspan", { class: "dg-chart-value" }),
        text = svg(
          "text",
          {
            class: one.strong ? "dg-chart-name dg-strong" : "dg-chart-name",
            x: right + 8,
            y: ends[i]! + 4,
            fill: one.colour,
          },
          svg("title", {}, clipped(one.name, 400)),
          this.#settings.bare ? "" : clipped(one.name, room),
          value,
        );
      return { text, value };
    });
    parts.push(...this.#names.map(({ text }) => text));
    this.#still.replaceChildren(...parts);
    this.#dots = this.#series.map((one) =>
      svg("circle", { class: "dg-chart-dot", r: 3.4, fill: one.colour }),
    );
    this.#cursor.replaceChildren(this.#line, ...this.#dots);
  }
}
