// A short list of training examples: name, perhaps a curve, a figure. A click or Enter chooses.
import type { Context } from "../view";
import { Spark } from "../views/chart/spark";
import { el, freshId, put, say } from "./dom";
import { FaceBox } from "./face";

export interface Item {
  readonly id: number;
  readonly place: number;
  readonly value: string;
  readonly note?: string;
  readonly course?: { epochs: ArrayLike<number>; values: ArrayLike<number> };
}
interface Row {
  element: HTMLElement;
  face: FaceBox;
  spark: Spark | null;
  note: HTMLElement;
  value: HTMLElement;
  of: unknown;
}

export class MiniList {
  readonly element: HTMLElement;
  #context: Context;
  #rows: Row[] = [];
  #items: readonly Item[] = [];
  #active = 0;
  #sparks: boolean;
  #none = el("p", { class: "dg-empty" }, "None.");

  constructor(context: Context, label: string, test: string, sparks: boolean) {
    this.#context = context;
    this.#sparks = sparks;
    this.element = el(
      "div",
      {
        class: sparks ? "dg-mini dg-mini-sparks" : "dg-mini",
        role: "listbox",
        tabindex: 0,
        "aria-label": label,
        "data-testid": test,
      },
      this.#none,
    );
    const { signal, guard, store } = context;
    const indexOf = (event: Event): number =>
      Number((event.target as Element).closest<HTMLElement>("[data-index]")?.dataset.index ?? -1);
    this.element.addEventListener(
      "click",
      guard((event) => this.#choose(indexOf(event))),
      { signal },
    );
    this.element.addEventListener(
      "pointerover",
      guard((event) => {
        const item = this.#items[indexOf(event)];
        store.set({ hovered: item ? { split: "train", id: item.id } : null }, "passing");
      }),
      { signal },
    );
    this.element.addEventListener("pointerleave", () => store.set({ hovered: null }, "passing"), {
      signal,
    });
    this.element.addEventListener(
      "keydown",
      guard((event) => {
        const last = this.#items.length - 1,
          to = { ArrowDown: this.#active + 1, ArrowUp: this.#active - 1, Home: 0, End: last }[
            event.key
          ];
        if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "Enter" || event.key === " ") this.#choose(this.#active);
        else if (to !== undefined) {
          this.#active = Math.min(last, Math.max(0, to));
          this.#mark();
        } else return;
        event.preventDefault();
        event.stopPropagation();
      }),
      { signal },
    );
  }

  update(items: readonly Item[], chosen: number | null, moment: number): void {
    const { record, redraw, report } = this.#context;
    this.#items = items;
    this.#none.hidden = items.length > 0;
    // a listbox without options is no listbox
    put(this.element, { role: items.length ? "listbox" : null, tabindex: items.length ? 0 : null });
    while (this.#rows.length > items.length) this.#rows.pop()!.element.remove();
    while (this.#rows.length < items.length) this.#add();
    const missing: number[] = [];
    items.forEach((item, i) => {
      const row = this.#rows[i]!,
        face = record.examples.train.face(item.place);
      if (!face) missing.push(item.place);
      row.face.fill(face);
      say(row.value, item.value);
      say(row.note, item.note ?? "");
      if (row.spark && item.course && row.of !== item.course.values) {
        row.of = item.course.values;
        row.spark.fill(item.course.epochs, item.course.values, record.first, record.last);
      }
      row.spark?.mark(moment);
      put(row.element, {
        "data-face": row.face.kind,
        "data-index": i,
        "data-id": item.id,
        "aria-selected": String(item.id === chosen),
        "aria-posinset": i + 1,
        "aria-setsize": items.length,
      });
    });
    if (missing.length) record.examples.train.load(missing).then(redraw, report);
    this.#active = Math.min(this.#active, Math.max(0, items.length - 1));
    this.#mark();
  }

  #add(): void {
    const face = new FaceBox(),
      spark = this.#sparks ? new Spark() : null,
      note = el("span", { class: "dg-small dg-clip" }),
      value = el("span", { class: "dg-value" });
    const element = el(
      "div",
      { class: "dg-mini-row", role: "option", id: freshId("mini") },
      face.picture,
      el("span", { class: "dg-mini-who" }, face.text, note),
      spark?.element,
      value,
    );
    this.#rows.push({ element, face, spark, note, value, of: null });
    this.element.append(element);
  }
  #choose(index: number): void {
    const item = this.#items[index];
    if (!item) return;
    const { store } = this.#context;
    this.#active = index;
    this.#mark();
    store.set({ train: store.value.train === item.id ? null : item.id });
  }
  #mark(): void {
    this.#rows.forEach((row, i) => put(row.element, { "data-active": i === this.#active || null }));
    put(this.element, { "aria-activedescendant": this.#rows[this.#active]?.element.id });
  }
}
