// Bias: who is left behind, and which groups of training examples teach the shortcut.
import type { Blocks } from "../../data/blocks";
import { indexNearest } from "../../data/epochs";
import { Waiting } from "../../ui/await";
import { menu } from "../../ui/controls";
import { el, put, say } from "../../ui/dom";
import { clipped, count, moment, percent } from "../../ui/format";
import { category, dash, type Theme } from "../../ui/theme";
import { share as shareOf } from "../../ui/unit";
import { wordsFor } from "../../ui/words";
import type { Context, State, View, ViewKind } from "../../view";
import { Chart, type Series } from "../chart/chart";
import { along, bright, centred, css, diverging } from "../evolution/palette";
import { curveOf, largest, lesson, worst } from "./groups";

class Bias implements View {
  #context: Context;
  #accuracy: Waiting;
  #scores: Waiting;
  #chart: Chart;
  #lessons: Chart;
  #group: HTMLSelectElement;
  #table: HTMLTableElement;
  #cells: HTMLTableCellElement[][] = [];
  #helps = el("span");
  #meaning = el("span");
  #worst = el("span", { "data-testid": "dg-worst" });
  #when = el("span", { class: "dg-muted" });
  #left: HTMLElement;
  #right: HTMLElement;
  #shown: readonly unknown[] = [];
  #most = 1;
  #caption = el("caption", { class: "dg-small" });

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { record, signal, guard, redraw, store, player } = context,
      { groups } = record;
    const settings = { first: record.first, last: record.last, unit: record.unit };
    const pick = (when: number): void => {
      player.pause();
      store.set({ epoch: record.epochs[indexNearest(record.epochs, when)] ?? when });
    };
    this.#accuracy = new Waiting(context);
    this.#scores = new Waiting(context);
    this.#chart = new Chart(
      context,
      {
        ...settings,
        label: "Test accuracy of each group over training",
        low: 0,
        high: 1,
        height: 196,
        format: (v) => `${Math.round(v * 100)} %`,
      },
      pick,
    );
    this.#lessons = new Chart(
      context,
      {
        ...settings,
        label: "Mean score of each training group on the chosen test group",
        height: 196,
        format: (v) => shareOf(v / this.#most),
      },
      pick,
    );
    this.#group = menu(
      "Test group",
      groups.map((name, code) => ({ value: String(code), text: clipped(name, 30) })),
      "dg-bias-group",
    );
    this.#group.addEventListener(
      "change",
      guard(() => {
        this.#group.dataset.chosen = "1";
        redraw();
      }),
      { signal },
    );
    this.#table = this.#matrix(groups);
    this.#left = el(
      "div",
      {},
      el("div", { class: "dg-h3 dg-panel-head" }, "Test accuracy by group"),
      this.#chart.element,
      el("p", { class: "dg-panel-note" }, this.#worst),
    );
    this.#right = el(
      "div",
      { class: "dg-bias-right" },
      el(
        "div",
        {},
        el("div", { class: "dg-h3 dg-panel-head" }, this.#helps, this.#group),
        this.#lessons.element,
        el("p", { class: "dg-panel-note" }, this.#meaning),
      ),
      el(
        "div",
        {},
        el("div", { class: "dg-h3 dg-panel-head" }, "All pairs", this.#when),
        el(
          "div",
          {
            class: "dg-matrix-frame",
            tabindex: 0,
            role: "group",
            "aria-label": "Mean score of every training group on every test group",
          },
          this.#table,
        ),
      ),
    );
    slot.append(
      el("div", { class: "dg-bias" }, this.#left, this.#right),
      this.#accuracy.element,
      this.#scores.element,
    );
  }

  update({ selection, theme }: State): void {
    const { record } = this.#context,
      method = record.method(selection.method);
    const light = record.light(selection.epoch, method?.id ?? null);
    say(this.#helps, wordsFor(light).helps);
    const accuracy = record.attrs.has_dynamics_test ? this.#accuracy.take("accuracy/test") : null,
      scores = method && record.attrs.has_course ? this.#scores.take(`bias/${method.id}`) : null;
    this.#left.hidden = !accuracy;
    this.#right.hidden = !scores;
    const at = accuracy ? indexNearest(accuracy.numbers("epoch"), selection.epoch) : 0,
      last = accuracy ? this.#lowest(accuracy, at) : -1;
    if (!this.#group.dataset.chosen && accuracy) {
      // the group to ask about first is the one that ends worst
      const end = worst(
        accuracy.numbers("accuracy"),
        record.groups.length,
        accuracy.numbers("epoch").length - 1,
      );
      if (end >= 0) {
        this.#group.value = String(end);
        this.#group.dataset.chosen = "1";
      }
    }
    const shown = [accuracy, scores, theme, this.#group.value, last];
    if (shown.some((part, i) => part !== this.#shown[i])) {
      this.#shown = shown;
      this.#fill(accuracy, scores, theme, last);
    }
    if (accuracy) this.#chart.update(selection.epoch);
    if (scores) {
      say(
        this.#meaning,
        `Mean score of each training group, in % of the largest${light.level === "red" ? ". Here scores do not predict what removing examples would do." : "; above zero it raised the margin of the right class."}`,
      );
      this.#lessons.update(selection.epoch);
      this.#pairs(scores, selection.epoch, theme);
    }
  }

  #lowest(accuracy: Blocks, at: number): number {
    const { record } = this.#context,
      n = record.groups.length,
      values = accuracy.numbers("accuracy"),
      group = worst(values, n, at);
    if (group < 0) {
      say(this.#worst, "No test example has a group.");
      return group;
    }
    say(
      this.#worst,
      `Worst at ${record.unit} ${moment(accuracy.numbers("epoch")[at]!)}: group ${clipped(record.groups[group]!, 30)} with ${percent(values[at * n + group]!)} of ${count(accuracy.numbers("count")[group]!)} right.`,
    );
    return group;
  }

  #fill(accuracy: Blocks | null, scores: Blocks | null, theme: Theme, lowest: number): void {
    const { groups } = this.#context.record,
      n = groups.length;
    if (accuracy) {
      const epochs = accuracy.numbers("epoch"),
        values = accuracy.numbers("accuracy"),
        sizes = accuracy.numbers("count");
      this.#chart.set(
        groups.flatMap((name, group): Series[] =>
          sizes[group]
            ? [
                {
                  name,
                  colour: category(group, theme),
                  epochs,
                  values: curveOf(values, epochs.length, n, group),
                  strong: group === lowest,
                  ...(group >= 8 ? { dash: dash(1) } : {}),
                },
              ]
            : [],
        ),
      );
    }
    if (scores) {
      const epochs = scores.numbers("epoch"),
        mean = scores.numbers("mean"),
        test = Number(this.#group.value);
      let most = 0;
      for (let at = 0; at < epochs.length; at++) most = Math.max(most, largest(mean, n, at));
      this.#most = most || 1;
      this.#lessons.set(
        groups.map((name, train) => ({
          name,
          colour: category(train, theme),
          epochs,
          values: lesson(mean, epochs.length, n, test, train),
          strong: train === test,
          ...(train >= 8 ? { dash: dash(1) } : {}),
        })),
      );
    }
  }

  #matrix(groups: readonly string[]): HTMLTableElement {
    const short = (name: string): HTMLElement =>
      el("bdi", { dir: "auto", title: clipped(name, 400) }, clipped(name, 24));
    this.#cells = groups.map(() => groups.map(() => el("td")));
    return el(
      "table",
      { class: "dg-matrix" },
      this.#caption,
      el(
        "thead",
        {},
        el("tr", {}, el("td"), ...groups.map((name) => el("th", { scope: "col" }, short(name)))),
      ),
      el(
        "tbody",
        {},
        ...groups.map((name, train) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, short(name)),
            ...groups.map((_, test) => this.#cells[train]![test]!),
          ),
        ),
      ),
    );
  }

  #pairs(scores: Blocks, when: number, theme: Theme): void {
    const { groups, unit } = this.#context.record,
      n = groups.length,
      epochs = scores.numbers("epoch"),
      mean = scores.numbers("mean"),
      at = indexNearest(epochs, when),
      size = largest(mean, n, at),
      stops = diverging(theme.dark);
    say(this.#when, `at ${unit} ${moment(epochs[at]!)} · in % of the largest mean score`);
    say(this.#caption, "rows: training groups; columns: test groups");
    for (let train = 0; train < n; train++)
      for (let test = 0; test < n; test++) {
        const cell = this.#cells[train]![test]!,
          value = mean[(at * n + test) * n + train]!,
          known = Number.isFinite(value),
          share = known ? centred(value, size) : 0.5;
        say(cell, n <= 8 ? (known ? shareOf(value / (size || 1)) : "–") : "");
        const fill = along(stops, share);
        cell.style.background = known ? css(fill) : "";
        // the paper's colour where it is read better than the ink's
        put(cell, {
          "data-strong": (known && bright(fill) === theme.dark) || null,
          title: `${clipped(groups[train]!, 60)} on ${clipped(groups[test]!, 60)}: ${known ? `${shareOf(value / (size || 1))} of the largest` : "not recorded"}`,
        });
      }
  }

  destroy(): void {
    this.#accuracy.destroy();
    this.#scores.destroy();
  }
}

export const bias: ViewKind = {
  name: "bias",
  title: "Bias",
  slot: "tabs",
  has: (record) =>
    record.attrs.has_groups === true &&
    (record.attrs.has_course === true || record.attrs.has_dynamics_test === true),
  lacks:
    'To see which group helps which, give the examples a column "group" when the run is created, with two groups or more.',
  make: (context, slot) => new Bias(context, slot),
};
