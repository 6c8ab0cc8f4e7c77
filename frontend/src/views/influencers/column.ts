// A column of influencers, helped or hurt: rows slide to their new rank instead of jumping.
import type { Face } from "../../data/examples";
import type { TestScores } from "../../data/scores";
import { el, freshId, put, say } from "../../ui/dom";
import { percent } from "../../ui/format";
import type { Words } from "../../ui/words";
import type { Context } from "../../view";
import { InfluencerRow, type Moment } from "./row";

export const ROW = 30, // the least height of a row
  TALL = 38; // and the most

/** How many rows share which height, and whether bars keep the scale of the whole run. */
export interface Layout {
  readonly rows: number;
  readonly height: number;
  readonly raw: boolean;
}

export class Column {
  readonly element: HTMLElement;
  /** Whether a click marks an example, for a question about several, rather than choosing it. */
  marking = false;
  #context: Context;
  #list: HTMLElement;
  #none: HTMLElement;
  #title = el("span");
  #note = el("span", { class: "dg-muted dg-clip" });
  #rows = new Map<number, InfluencerRow>(); // by training id
  #order: number[] = [];
  #active = 0;
  #side: 0 | 1;

  constructor(context: Context, side: 0 | 1) {
    this.#context = context;
    this.#side = side;
    this.#list = el("div", {
      class: "dg-ranks",
      role: "listbox",
      tabindex: 0,
      "data-testid": side ? "dg-hurt" : "dg-helped",
    });
    this.#none = el("p", { class: "dg-empty", hidden: true });
    this.element = el(
      "div",
      { class: `dg-column dg-${side ? "hurt" : "helped"}` },
      el(
        "div",
        { class: "dg-h3" },
        el("span", { "aria-hidden": "true" }, side ? "−" : "+"),
        this.#title,
        this.#note,
      ),
      this.#list,
      this.#none,
    );
    const { signal, guard, store } = context;
    this.#list.addEventListener(
      "click",
      guard((event) => {
        const id = (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset.id;
        if (id === undefined) return;
        const several = event.shiftKey || event.ctrlKey || event.metaKey;
        if (several || this.marking) this.#mark(Number(id));
        else this.#choose(Number(id));
      }),
      { signal },
    );
    this.#list.addEventListener(
      "keydown",
      guard((event) => {
        const last = this.#order.length - 1;
        const to = { ArrowDown: this.#active + 1, ArrowUp: this.#active - 1, Home: 0, End: last }[
          event.key
        ];
        if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "Enter" || event.key === " ") {
          const id = this.#order[this.#active]!;
          if (event.shiftKey || this.marking) this.#mark(id);
          else this.#choose(id);
        } else if (to !== undefined) {
          this.#active = Math.min(last, Math.max(0, to));
          this.#focus(true);
        } else return;
        event.preventDefault();
        event.stopPropagation();
      }),
      { signal },
    );
    this.#list.addEventListener(
      "pointerover",
      guard((event) => {
        const id = (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset.id;
        store.set(
          { hovered: id === undefined ? null : { split: "train", id: Number(id) } },
          "passing",
        );
      }),
      { signal },
    );
    this.#list.addEventListener("pointerleave", () => store.set({ hovered: null }, "passing"), {
      signal,
    });
  }

  update(
    scores: TestScores,
    now: Omit<Moment, "side">,
    test: Face | null,
    chosen: number | null,
    marked: readonly number[],
    { rows, height, raw }: Layout,
  ): number[] {
    const { record } = this.#context,
      train = record.examples.train;
    const columns = scores.top(now.epoch, this.#side).slice(0, rows),
      at: Moment = { ...now, side: this.#title.textContent ?? "" };
    const ids = columns.map((column) => scores.train[column]!);
    const tall = Math.min(TALL, Math.floor(height / Math.max(rows, 1)));
    // rows that leave are filled anew for those that come: making one takes as long as ten changes
    const spare: InfluencerRow[] = [];
    for (const [id, row] of this.#rows)
      if (!ids.includes(id)) {
        this.#rows.delete(id);
        spare.push(row);
      }
    columns.forEach((column, rank) => {
      const id = ids[rank]!;
      let row = this.#rows.get(id);
      // who comes is at its place at once and does not slide in from another's
      const still = row ? "" : "none";
      if (!row) {
        row = spare.pop();
        if (!row) {
          row = new InfluencerRow();
          row.element.id = freshId("influencer");
          this.#list.append(row.element);
        }
        this.#rows.set(id, row);
      }
      if (row.element.style.transition !== still) row.element.style.transition = still;
      const face = train.face(scores.position[column]!);
      row.fill(scores, column, face, test, record.first, record.last, raw);
      row.at(scores, column, rank, at);
      row.element.style.transform = `translateY(${rank * tall}px)`;
      put(row.element, {
        role: "option",
        "aria-selected": String(id === chosen),
        "aria-checked": marked.length || this.marking ? String(marked.includes(id)) : null,
        "aria-posinset": rank + 1,
        "aria-setsize": columns.length,
      });
    });
    for (const row of spare) row.element.remove();
    this.#order = ids;
    this.#active = Math.min(this.#active, Math.max(0, ids.length - 1));
    this.#focus(false);
    this.#list.style.height = `${rows * tall}px`;
    this.#list.style.setProperty("--dg-row", `${tall}px`);
    this.#none.hidden = columns.length > 0;
    say(
      this.#note,
      sharing(test, columns, (column) => train.face(scores.position[column]!), record),
    );
    return columns;
  }

  /** Name the column in words that fit how far the scores may be believed. */
  call(words: Words): void {
    const side = this.#side,
      title = side ? words.least : words.most;
    say(this.#title, title);
    this.#note.title = side ? words.leastNote : words.mostNote;
    say(this.#none, side ? words.noneLeast : words.noneMost);
    put(this.#list, { "aria-label": `Training examples: ${title.toLowerCase()}` });
  }

  #choose(id: number): void {
    const { store } = this.#context;
    this.#active = Math.max(0, this.#order.indexOf(id));
    store.set({ train: store.value.train === id ? null : id });
  }

  /** Add an example to what is selected, or take it out. */
  #mark(id: number): void {
    const { store } = this.#context,
      { selected } = store.value;
    this.#active = Math.max(0, this.#order.indexOf(id));
    store.set({
      selected: selected.includes(id)
        ? selected.filter((one) => one !== id)
        : [...selected, id].sort((a, b) => a - b),
    });
  }

  #focus(scroll: boolean): void {
    this.#order.forEach((id, rank) =>
      put(this.#rows.get(id)!.element, { "data-active": rank === this.#active || null }),
    );
    const active = this.#rows.get(this.#order[this.#active] ?? NaN)?.element;
    put(this.#list, { "aria-activedescendant": active?.id });
    if (scroll) active?.scrollIntoView({ block: "nearest" });
  }
}

/** "5 of 6 share its label (3 % of all do)": what sharing a label is worth needs its base rate. */
function sharing(
  test: Face | null,
  columns: readonly number[],
  faceOf: (column: number) => Face | null,
  record: Context["record"],
): string {
  const rate = test ? record.labelShare(test.labelCode) : NaN,
    faces = columns.map(faceOf);
  if (!test || !Number.isFinite(rate) || !faces.length || faces.includes(null)) return "";
  const same = faces.filter((face) => face!.labelCode === test.labelCode).length;
  return `${same} of ${faces.length} share its label (${percent(rate)} of all do)`;
}
