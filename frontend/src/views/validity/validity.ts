// Validity: how far the scores on screen may be believed, in plain words and in curves.
import type { Blocks } from "../../data/blocks";
import { indexNearest } from "../../data/epochs";
import { ADVICE } from "../../ui/advice";
import { emptyState, Waiting } from "../../ui/await";
import { el, put, say } from "../../ui/dom";
import { clipped } from "../../ui/format";
import { icon, turnInto } from "../../ui/icons";
import { category, type Theme } from "../../ui/theme";
import type { Context, State, View, ViewKind } from "../../view";
import { Chart, type Series } from "../chart/chart";

const REMOVAL = "Removal against chance";
/** What can be checked: the title of its curve in the record, the question, and how. */
const STEPS = [
  [
    "Metasmoothness",
    "Is training smooth enough?",
    "Where small changes of the training set have erratic effects, no method can predict them. Cheap: two short retrainings.",
    ADVICE.smooth,
  ],
  [
    "Linear datamodeling score",
    "Do scores predict retraining?",
    "Retrain on random subsets and compare with the sums of scores: the linear datamodeling score at each recorded moment.",
    ADVICE.lds,
  ],
  [
    REMOVAL,
    "Does removal do what they say?",
    "Retrain without the examples a score names, against as many removed at random.",
    ADVICE.removal,
  ],
] as const;
const step = (title: string, text: string, code: string, state = ""): HTMLElement =>
  el(
    "div",
    { class: "dg-step" },
    el("b", {}, title),
    state && el("span", { class: "dg-tag" }, state),
    el("p", {}, text),
    el("code", {}, code),
  );

interface Check {
  readonly name: string;
  readonly about: string;
  /** What the check found, in its own words; "" where it has none. */
  readonly said: string;
  readonly series: Omit<Series, "colour">[];
}

class Validity implements View {
  #context: Context;
  #waiting: Waiting;
  #slot: HTMLElement;
  #light: HTMLElement;
  #text = el("b");
  #detail = el("p");
  #charts: { check: Check; chart: Chart }[] = [];
  #grid = el("div", { class: "dg-thirds" });
  #built: unknown = null;
  #theme: Theme | null = null;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    this.#slot = slot;
    this.#waiting = new Waiting(context);
    this.#light = el(
      "div",
      { class: "dg-verdict-card", "data-testid": "dg-validity" },
      icon("grey"),
      el("div", {}, this.#text, this.#detail),
    );
    if (!context.record.attrs.has_validity) {
      this.#nothing();
      return;
    }
    slot.append(this.#light, this.#waiting.element, this.#grid);
  }

  #nothing(): void {
    this.#slot.append(
      el(
        "div",
        { class: "dg-validity-empty", "data-testid": "dg-validity-empty" },
        emptyState(
          "These scores have not been checked yet",
          "A score says what training on an example should have done. Three checks say whether to believe it; each is written into the record, and every panel then carries its light. All three replay the run's own training: training = " +
            ADVICE.replay +
            ".",
        ),
        el(
          "div",
          { class: "dg-thirds" },
          ...STEPS.map(([, title, text, code]) => step(title, text, code)),
        ),
      ),
    );
  }

  update({ selection, theme }: State): void {
    const { record } = this.#context;
    if (!record.attrs.has_validity) return;
    const light = record.light(selection.epoch, record.method(selection.method)?.id ?? null);
    put(this.#light, { "data-level": light.level });
    turnInto(this.#light, light.level);
    say(this.#text, light.text);
    say(this.#detail, light.detail);
    const blocks = this.#waiting.take("validity/all");
    if (!blocks) return;
    if (blocks !== this.#built || theme !== this.#theme) {
      const first = blocks !== this.#built;
      this.#built = blocks;
      this.#theme = theme;
      if (first) this.#build(blocks);
      for (const { check, chart } of this.#charts)
        chart.set(check.series.map((one, i) => ({ ...one, colour: category(i, theme) })));
    }
    for (const { chart } of this.#charts) chart.update(selection.epoch);
  }

  #build(blocks: Blocks): void {
    const { record, store, player } = this.#context,
      names = blocks.strings("names"),
      abouts = blocks.strings("about"),
      methods = blocks.strings("method"),
      said = blocks.has("said") ? blocks.strings("said") : [],
      checks = new Map<string, Check>();
    names.forEach((name, i) => {
      const key = `curve/${i}`,
        low = blocks.maybe(`${key}/low`),
        high = blocks.maybe(`${key}/high`);
      const check = checks.get(name) ?? {
        name,
        about: abouts[i]!,
        said: said[i] ?? "",
        series: [],
      };
      // a check of the run itself needs no other name than its title
      check.series.push({
        name: methods[i]!.toLowerCase() === name.toLowerCase() ? "" : methods[i]!,
        epochs: blocks.numbers(`${key}/epoch`),
        values: blocks.numbers(`${key}/value`),
        ...(low && high ? { low, high } : {}),
      });
      checks.set(name, check);
    });
    this.#charts = [...checks.values()].map((check) => {
      const shares = check.series.every(({ values }) =>
        Array.from(values).every((v) => !Number.isFinite(v) || Math.abs(v) <= 1),
      );
      const chart = new Chart(
        this.#context,
        {
          label: check.name,
          first: record.first,
          last: record.last,
          unit: record.unit,
          height: 168,
          ...(shares ? { high: 1 } : {}),
          format: (v) => String(Number(v.toPrecision(2))),
        },
        (when) => {
          player.pause();
          store.set({ epoch: record.epochs[indexNearest(record.epochs, when)] ?? when });
        },
      );
      return { check, chart };
    });
    this.#grid.replaceChildren(
      ...this.#charts.map(({ check, chart }) =>
        el(
          "div",
          {},
          el("div", { class: "dg-h3 dg-panel-head" }, clipped(check.name, 60)),
          chart.element,
          el("p", { class: "dg-panel-note dg-small" }, check.about),
          check.said &&
            el("p", { class: "dg-small", dir: "auto", "data-testid": "dg-said" }, check.said),
        ),
      ),
      // what was not checked is said beside what was
      ...STEPS.filter(
        ([name]) => !checks.has(name) && !(name === REMOVAL && record.attrs.has_removal),
      ).map(([, title, text, code]) => step(title, text, code, "not checked yet")),
    );
  }

  destroy(): void {
    this.#waiting.destroy();
  }
}

// always there: what has not been checked is worth saying too
export const validity: ViewKind = {
  name: "validity",
  title: "Validity",
  slot: "tabs",
  has: () => true,
  make: (context, slot) => new Validity(context, slot),
};
