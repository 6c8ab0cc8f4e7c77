// Transition: who gained and lost influence between two moments, and what the gainers share.
import type { Blocks } from "../../data/blocks";
import { indexNearest } from "../../data/epochs";
import { ADVICE } from "../../ui/advice";
import { emptyState, Waiting } from "../../ui/await";
import { menu } from "../../ui/controls";
import { el, put, say } from "../../ui/dom";
import { clipped, count, moment, percent } from "../../ui/format";
import { type Item, MiniList } from "../../ui/mini";
import { share } from "../../ui/unit";
import { wordsFor } from "../../ui/words";
import type { Context, State, View, ViewKind } from "../../view";
import { defaultRange } from "../timeline/phases";
import { bars, courseOf, crowd, extremes, gains, standout } from "./gain";
import { Histogram } from "./histogram";

const ROWS = 7;

class Transition implements View {
  #context: Context;
  #waiting: Waiting;
  #properties: Waiting;
  #gained: MiniList;
  #lost: MiniList;
  #histogram: Histogram;
  #up = el("span");
  #down = el("span");
  #from = el("span");
  #where = el("span", { class: "dg-muted" });
  #flips = el("b");
  #flipsOf = el("span");
  #common = el("p", { class: "dg-panel-note" });
  #property: HTMLSelectElement;
  #body: HTMLElement;
  #none: HTMLElement | null = null;
  #slot: HTMLElement;
  #propertyBox: HTMLElement;
  #weigh: HTMLButtonElement;
  #weighted = false;
  #key = "";
  #items: { gained: Item[]; lost: Item[]; crowd: number[] } = { gained: [], lost: [], crowd: [] };

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    this.#slot = slot;
    const { store, signal, guard, redraw } = context;
    this.#waiting = new Waiting(context);
    this.#properties = new Waiting(context);
    this.#gained = new MiniList(context, "Gained influence", "dg-gained", true);
    this.#lost = new MiniList(context, "Lost influence", "dg-lost", true);
    this.#histogram = new Histogram(context);
    this.#property = menu("Property", [], "dg-property");
    this.#property.addEventListener(
      "change",
      guard(() => {
        this.#key = "";
        redraw();
      }),
      { signal },
    );
    this.#weigh = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        "aria-pressed": "false",
        "data-testid": "dg-weigh",
        title:
          "Raw scores hold the factor 1 − p of each training example, which falls by orders of magnitude as it is fitted. Off: without it, so that two moments compare",
      },
      "raw scores",
    );
    this.#weigh.addEventListener(
      "click",
      guard(() => {
        this.#weighted = !this.#weighted;
        redraw();
      }),
      { signal },
    );
    const choose = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        "data-testid": "dg-select-gainers",
        title: "Select these training examples on the whole board",
      },
      "select them",
    );
    choose.addEventListener(
      "click",
      guard(() => {
        const ids = this.#waitingIds();
        store.set({ selected: this.#items.crowd.map((row) => ids[row]!).sort((a, b) => a - b) });
      }),
      { signal },
    );
    this.#propertyBox = el(
      "div",
      {},
      el(
        "div",
        { class: "dg-h3 dg-panel-head" },
        el("span", { "data-testid": "dg-crowd" }),
        this.#property,
        choose,
      ),
      this.#histogram.element,
      el(
        "div",
        { class: "dg-legend-shapes dg-small" },
        el("span", { class: "dg-swatch-key" }, el("i", { class: "dg-sign-bar" }), "gained most"),
        el(
          "span",
          { class: "dg-swatch-key" },
          el("i", { class: "dg-sign-all" }),
          "as many of the whole training set",
        ),
      ),
      this.#common,
    );
    this.#body = el(
      "div",
      {},
      el("div", { class: "dg-panel-title" }, this.#from, this.#where, this.#weigh),
      el(
        "div",
        { class: "dg-thirds" },
        el("div", {}, el("div", { class: "dg-h3 dg-up" }, "+ ", this.#up), this.#gained.element),
        el("div", {}, el("div", { class: "dg-h3 dg-down" }, "− ", this.#down), this.#lost.element),
        el(
          "div",
          {},
          this.#propertyBox,
          el("p", { class: "dg-panel-note" }, this.#flips, this.#flipsOf),
        ),
      ),
    );
    slot.append(this.#waiting.element, this.#body);
  }

  #waitingIds(): ArrayLike<number> {
    return this.#properties.take("properties/train")?.numbers("id") ?? [];
  }

  update({ selection }: State): void {
    const { record } = this.#context,
      method = record.method(selection.method);
    const blocks = method ? this.#waiting.take(`course/${method.id}`) : null,
      properties = this.#properties.take("properties/train");
    const epochs = blocks?.numbers("epoch") ?? [];
    this.#none?.remove();
    this.#none = null;
    this.#body.hidden = epochs.length < 2 || !properties;
    if (blocks && epochs.length < 2) {
      this.#none = emptyState(
        "Scores at one moment only",
        "A transition compares two moments. Score more epochs, then refresh the board:",
        ADVICE.moreScores,
      );
      this.#slot.append(this.#none);
      return;
    }
    if (!blocks || !properties) return;
    const words = wordsFor(record.light(selection.epoch, method!.id));
    say(this.#up, words.gained);
    say(this.#down, words.lost);
    const [from, to] = selection.range ?? defaultRange(record),
      before = indexNearest(epochs, from),
      after = indexNearest(epochs, to);
    this.#weigh.hidden = !blocks.has("plain_mean");
    put(this.#weigh, { "aria-pressed": String(this.#weighted) });
    const key = [method!.id, before, after, this.#property.value, this.#weighted].join("|");
    if (key !== this.#key) {
      this.#key = key;
      this.#compare(blocks, properties, before, after, selection.range !== null);
    }
    this.#gained.update(this.#items.gained, selection.train, selection.epoch);
    this.#lost.update(this.#items.lost, selection.train, selection.epoch);
  }

  #plainly(blocks: Blocks): boolean {
    return !this.#weighted && blocks.has("plain_mean");
  }

  #compare(
    blocks: Blocks,
    properties: Blocks,
    before: number,
    after: number,
    brushed: boolean,
  ): void {
    const { record } = this.#context,
      epochs = blocks.numbers("epoch"),
      plain = this.#plainly(blocks) ? "plain_" : "",
      { values: mean, shape } = blocks.grid(`${plain}mean`),
      scale = blocks.numbers(`${plain}scale`),
      n = shape[1] ?? 0,
      ids = properties.numbers("id");
    const change = gains(mean, scale, n, before, after);
    const largest = Math.max(
      0,
      ...[1, -1].flatMap((sign) =>
        extremes(change, 1, sign as 1 | -1).map((row) => Math.abs(change[row]!)),
      ),
    );
    const item = (row: number): Item => ({
      id: ids[row]!,
      place: row,
      value: share(change[row]! / (largest || 1)),
      course: { epochs, values: courseOf(mean, scale, n, row) },
    });
    this.#items = {
      gained: extremes(change, ROWS, 1).map(item),
      lost: extremes(change, ROWS, -1).map(item),
      crowd: extremes(change, crowd(n), 1),
    };
    const [tests, all] = blocks.numbers("tests");
    say(this.#from, `${record.unit} ${moment(epochs[before]!)} → ${moment(epochs[after]!)}`);
    say(
      this.#where,
      `change of the mean score, in % of the largest change, over ${tests === all ? `all ${count(all!)}` : `${count(tests!)} of ${count(all!)}`} test examples${brushed ? "" : " · Shift-drag on the timeline compares other moments"}`,
    );
    const turned = blocks.numbers("flips")[before * epochs.length + after]!;
    this.#flips.hidden = this.#flipsOf.hidden = !Number.isFinite(turned);
    say(this.#flips, percent(turned));
    say(this.#flipsOf, " of all (test, train) pairs have opposite signs at the two moments.");
    this.#share(properties);
  }

  #share(properties: Blocks): void {
    const names = properties.strings("names");
    if (!this.#property.options.length)
      this.#property.append(
        ...names.map((name) => el("option", { value: name }, clipped(name, 30))),
      );
    const rows = this.#items.crowd;
    this.#propertyBox.hidden = !names.length || !rows.length;
    if (this.#propertyBox.hidden) return;
    const name = this.#property.value || names[0]!,
      codes = properties.numbers(`code/${name}`),
      kinds = properties.strings(`kinds/${name}`),
      list = bars(codes, kinds, rows),
      most = standout(codes, kinds, rows);
    say(
      this.#propertyBox.querySelector("[data-testid=dg-crowd]")!,
      `The ${count(rows.length)} top gainers by`,
    );
    this.#histogram.set(
      list,
      `${name} of the training examples that gained most, against the whole training set`,
    );
    say(
      this.#common,
      most
        ? `${clipped(name, 30)} = ${clipped(most.name, 40)} stands out: ${count(most.count)} of them, ${most.expected.toFixed(1)} expected (the furthest of ${count(kinds.length)} kinds comes so far in fewer than 5 % of random draws).`
        : `No value of ${clipped(name, 30)} stands out further than the furthest of ${count(kinds.length)} kinds does by chance.`,
    );
  }

  destroy(): void {
    this.#waiting.destroy();
    this.#properties.destroy();
  }
}

export const transition: ViewKind = {
  name: "transition",
  title: "Transition",
  slot: "tabs",
  has: (record) => record.attrs.has_course === true,
  lacks: `A transition needs scores at two moments or more: ${ADVICE.scores}.`,
  make: (context, slot) => new Transition(context, slot),
};
