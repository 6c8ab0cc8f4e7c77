// The training timeline is the scrubber.
import { indexNearest, neighbour } from "../../data/epochs";
import { el, put, svg } from "../../ui/dom";
import { moment, percent } from "../../ui/format";
import type { Context, State, View, ViewKind } from "../../view";
import { WhatIfPanel } from "../whatif/whatif";
import { linear, logarithmic, type Scale } from "./axis";
import { Controls } from "./controls";
import { drag } from "./drag";
import { type Line, linesOf } from "./lines";
import { Playhead } from "./playhead";
import { drawNames, drawPlot, HEIGHT, LEFT, RIGHT } from "./plot";
import { RangeBand } from "./range";

class Timeline implements View {
  #context: Context;
  #lines: Line[];
  #drawn: Line[];
  #early = false;
  #controls: Controls;
  #slider: HTMLElement;
  #picture: SVGSVGElement;
  #plot: SVGGElement;
  #names = svg("g");
  #band: RangeBand;
  #playhead: Playhead;
  #whatIf: WhatIfPanel;
  #x: Scale = linear(0, 1, 0, 1);
  #width = 0;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { record } = context;
    this.#lines = linesOf(record);
    this.#drawn = this.#lines.filter((line) => !line.optional);
    this.#controls = new Controls(
      context,
      this.#lines,
      (line, on) => {
        this.#drawn = this.#lines.filter((one) => (one === line ? on : this.#drawn.includes(one)));
        this.#layout();
        context.redraw();
      },
      (on) => {
        this.#early = on;
        this.#layout();
        context.redraw();
      },
    );
    this.#plot = svg("g");
    this.#band = new RangeBand(context, () => this.#x);
    this.#playhead = new Playhead(this.#lines);
    this.#picture = svg(
      "svg",
      { height: HEIGHT, width: "100%", "aria-hidden": "true" },
      this.#band.shade,
      this.#plot,
      this.#playhead.element,
      this.#names,
    );
    this.#slider = el(
      "div",
      {
        class: "dg-scrubber",
        role: "slider",
        tabindex: 0,
        "aria-label": `Training ${record.unit}`,
        "data-testid": "dg-timeline",
        "aria-valuemin": record.first,
        "aria-valuemax": record.last,
      },
      this.#picture,
    );
    this.#whatIf = new WhatIfPanel(context, () => this.#layout());
    this.#controls.element.lastElementChild!.before(this.#whatIf.bar);
    slot.append(
      this.#controls.element,
      el("div", { class: "dg-track" }, this.#slider, this.#band.handles),
      this.#whatIf.element,
    );
    if (!record.epochs.length)
      slot.append(
        el(
          "p",
          { class: "dg-empty" },
          "Nothing is recorded yet. A Recorder writes the first epoch here.",
        ),
      );
    drag(this.#slider, context, () => this.#x);
    this.#slider.addEventListener(
      "keydown",
      context.guard((event) => this.#key(event)),
      { signal: context.signal },
    );
    context.onSize(this.#slider, (width) => {
      if (width && width !== this.#width) {
        this.#width = width;
        this.#layout();
        context.redraw();
      }
    });
  }

  update(state: State): void {
    this.#controls.update(state);
    this.#whatIf.update(state);
    if (!this.#width) return;
    const { record } = this.#context,
      { epochs } = record;
    const shown = epochs.length
      ? epochs[indexNearest(epochs, state.selection.epoch)]!
      : state.selection.epoch;
    const test = this.#lines.find((line) => line.role === "test-line");
    put(this.#slider, {
      "aria-valuenow": shown,
      "aria-valuetext":
        `${record.unit} ${moment(shown)}` +
        (test?.format === "share"
          ? `, test accuracy ${percent(test.values[indexNearest(test.epochs, shown)] ?? NaN)}`
          : ""),
    });
    put(this.#playhead.element, { visibility: epochs.length ? null : "hidden" });
    this.#playhead.update(
      state.selection.epoch,
      `${record.unit} ${moment(shown)}`,
      this.#x,
      this.#width,
    );
    this.#band.update(state.selection.range);
    for (const label of this.#plot.querySelectorAll<SVGTextElement>("text.dg-phase-name")) {
      // the playhead's flag lies in the same strip; whatever it would touch steps back
      const far =
        Math.abs(Number(label.getAttribute("x")) - this.#x(state.selection.epoch)) >
        this.#playhead.half + Number(label.dataset.half);
      label.classList.toggle("dg-away", !far);
    }
  }

  #layout(): void {
    const { record } = this.#context;
    const { first, last, epochs } = record,
      right = Math.max(LEFT + 10, this.#width - RIGHT);
    this.#x =
      this.#early && last > first
        ? logarithmic(first, last, (epochs[1] ?? last) - first || 1, LEFT, right)
        : linear(first, last, LEFT, right);
    put(this.#picture, { viewBox: `0 0 ${this.#width} ${HEIGHT}` });
    const { answer, scored } = this.#whatIf;
    drawPlot(this.#plot, record, this.#drawn, this.#x, this.#width, this.#early, answer, scored);
    this.#whatIf.layout(this.#x, this.#width);
    drawNames(this.#names, record, this.#drawn, this.#x, this.#width);
    this.#playhead.layout(this.#drawn);
  }

  #key(event: KeyboardEvent): void {
    const { record, store, player } = this.#context,
      { epochs } = record;
    if (event.ctrlKey || event.metaKey || event.altKey || !epochs.length) return;
    const far = Math.max(1, Math.round(epochs.length / 10));
    const by = (steps: number): void => {
      let at = store.value.epoch;
      for (let i = 0; i < Math.abs(steps); i++) at = neighbour(epochs, at, steps < 0 ? -1 : 1);
      player.pause();
      store.set({ epoch: at });
    };
    const acts: { [key: string]: () => void } = {
      ArrowLeft: () => by(-1),
      ArrowDown: () => by(-1),
      ArrowRight: () => by(1),
      ArrowUp: () => by(1),
      PageDown: () => by(-far),
      PageUp: () => by(far),
      Home: () => {
        player.pause();
        store.set({ epoch: record.first });
      },
      End: () => {
        player.pause();
        store.set({ epoch: record.last });
      },
      " ": () => player.toggle(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  destroy(): void {
    /* listeners and observers end with the signal */
  }
}

export const timeline: ViewKind = {
  name: "timeline",
  title: "Timeline",
  slot: "timeline",
  has: () => true,
  make: (context, slot) => new Timeline(context, slot),
};
