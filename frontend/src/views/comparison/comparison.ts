// Several runs on one normalised time axis: accuracies and memorization, and when each turned.
import { focusedIn } from "../../focus";
import { el, put, say, svg } from "../../ui/dom";
import { clipped, moment, percent, plural } from "../../ui/format";
import { category, dash, type Theme } from "../../ui/theme";
import type { Context, State, View, ViewKind } from "../../view";
import { Chart } from "../chart/chart";

const CURVES = [
  ["test_accuracy", "Test accuracy"],
  ["train_accuracy", "Train accuracy"],
  ["memorization_score", "Memorization (train − test)"],
] as const;
const COLUMNS = [
  ["t_memorized", "memorized at"],
  ["t50", "50 % at"],
  ["t95", "95 % at"],
  ["delay_ratio", "delay"],
  ["peak_memorization", "most memorized"],
  ["final_test_accuracy", "test accuracy at the end"],
  ["n_train", "training examples"],
] as const;
const SHARES = new Set<string>(["peak_memorization", "final_test_accuracy"]);

/** A run's own time at a percentage of it, rounded as it is recorded. Pure. */
export function ownTime(percentDone: number, first: number, last: number): number {
  return Math.round(first + ((last - first) * percentDone) / 100);
}

class Comparison implements View {
  #context: Context;
  #names: string[];
  #charts: { chart: Chart; curve: string; title: string }[];
  #slider: HTMLInputElement;
  #when = el("b");
  #keys: { line: SVGLineElement; own: HTMLElement }[] = [];
  #theme: Theme | null = null;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { record, signal, guard, store, player } = context,
      { preview } = record;
    this.#names = preview.strings("comparison/names");
    const pick = (when: number): void => {
      player.pause();
      store.set({ epoch: Math.round(Math.min(100, Math.max(0, when))) });
    };
    this.#charts = CURVES.filter(([curve]) =>
      Array.from(preview.numbers(`comparison/curve/${curve}`)).some(Number.isFinite),
    ).map(([curve, title]) => ({
      curve,
      title,
      chart: new Chart(
        context,
        {
          label: `${title} of each run over the share of training done`,
          first: 0,
          last: 100,
          unit: "percent",
          ...(curve === "memorization_score" ? {} : { low: 0, high: 1 }),
          height: 220,
          bare: true,
          format: (v) => `${Math.round(v * 100)} %`,
          time: (v) => `${v} %`,
        },
        pick,
      ),
    }));
    this.#slider = el("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 1,
      class: "dg-comparison-slider",
      "aria-label": "Share of training done",
      "data-testid": "dg-comparison-slider",
    });
    this.#slider.addEventListener(
      "input",
      guard(() => store.set({ epoch: Number(this.#slider.value) }, "passing")),
      { signal },
    );
    this.#slider.addEventListener(
      "change",
      guard(() => store.set({ epoch: Number(this.#slider.value) })),
      { signal },
    );
    slot.append(
      el("div", { class: "dg-h2" }, el("span", {}, plural(this.#names.length, "run")), this.#when),
      this.#slider,
      this.#legend(),
      el(
        "div",
        { class: "dg-thirds dg-comparison-charts" },
        ...this.#charts.map(({ chart, title }) =>
          el("div", {}, el("div", { class: "dg-h3 dg-panel-head" }, title), chart.element),
        ),
      ),
      el(
        "div",
        { class: "dg-table-frame", tabindex: 0, role: "group", "aria-label": "Facts of each run" },
        this.#table(),
      ),
    );
  }

  #fact(name: string, run: number): number {
    return this.#context.record.preview.maybe(`comparison/fact/${name}`)?.[run] ?? NaN;
  }

  /** Colour, pattern and name of each run, and what its own time is now. */
  #legend(): HTMLElement {
    this.#keys = this.#names.map(() => ({
      line: svg("line", { class: "dg-chart-line dg-strong", x1: 0, x2: 26, y1: 6, y2: 6 }),
      own: el("span", { class: "dg-muted" }),
    }));
    return el(
      "div",
      { class: "dg-legend dg-runs" },
      ...this.#keys.map(({ line, own }, run) =>
        el(
          "span",
          { class: "dg-key" },
          svg("svg", { width: 26, height: 12, "aria-hidden": "true" }, line),
          el(
            "bdi",
            { dir: "auto", title: clipped(this.#names[run]!, 400) },
            clipped(this.#names[run]!, 40),
          ),
          own,
        ),
      ),
    );
  }

  #table(): HTMLElement {
    const units = this.#context.record.preview.strings("comparison/units");
    return el(
      "table",
      { class: "dg-table" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col" }, "run"),
          ...COLUMNS.map(([, title]) => el("th", { scope: "col" }, title)),
        ),
      ),
      el(
        "tbody",
        {},
        ...this.#names.map((name, run) =>
          el(
            "tr",
            {},
            el(
              "th",
              { scope: "row" },
              el("bdi", { dir: "auto", title: clipped(name, 400) }, clipped(name, 40)),
            ),
            ...COLUMNS.map(([fact]) =>
              el("td", {}, this.#shown(fact, this.#fact(fact, run), units[run]!)),
            ),
          ),
        ),
      ),
    );
  }

  #shown(fact: string, value: number, unit: string): string {
    if (!Number.isFinite(value)) return fact.startsWith("t") ? "never" : "–";
    if (fact === "delay_ratio")
      return `${value >= 10 ? moment(Math.round(value)) : value.toPrecision(2)}×`;
    return SHARES.has(fact)
      ? percent(value)
      : fact === "n_train"
        ? moment(value)
        : `${unit} ${moment(Math.round(value))}`;
  }

  update({ selection, theme }: State): void {
    const { record } = this.#context,
      { preview } = record;
    if (theme !== this.#theme) {
      this.#theme = theme;
      this.#keys.forEach(({ line }, run) =>
        put(line, { stroke: category(run, theme), "stroke-dasharray": dash(run) || null }),
      );
      const epochs = preview.numbers("comparison/percent");
      for (const { chart, curve } of this.#charts) {
        const { values, shape } = preview.grid(`comparison/curve/${curve}`),
          moments = shape[1]!;
        chart.set(
          this.#names.map((name, run) => ({
            name,
            colour: category(run, theme),
            epochs,
            values: values.subarray(run * moments, (run + 1) * moments),
            dash: dash(run),
          })),
        );
      }
    }
    const done = Math.round(selection.epoch),
      units = preview.strings("comparison/units");
    say(this.#when, `${done} % of training done`);
    this.#keys.forEach(({ own }, run) =>
      say(
        own,
        `${units[run]!} ${moment(ownTime(done, this.#fact("first_epoch", run), this.#fact("last_epoch", run)))}`,
      ),
    );
    if (focusedIn(this.#slider) !== this.#slider || Number(this.#slider.value) !== done)
      this.#slider.value = String(done);
    put(this.#slider, { "aria-valuetext": `${done} percent of training done` });
    for (const { chart } of this.#charts) chart.update(selection.epoch);
  }

  destroy(): void {
    /* listeners end with the signal */
  }
}

export const comparison: ViewKind = {
  name: "comparison",
  title: "Comparison of runs",
  slot: "middle",
  has: (record) => record.attrs.has_comparison === true,
  make: (context, slot) => new Comparison(context, slot),
};
