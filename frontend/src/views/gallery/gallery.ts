// The test gallery: search, filters, order, and a virtual list of cards.
import { Ahead } from "../../data/ahead";
import type { Dynamics } from "../../data/dynamics";
import { indexBefore } from "../../data/epochs";
import { scoresKey } from "../../data/record";
import { focusedIn } from "../../focus";
import { menu } from "../../ui/controls";
import { el, put, say } from "../../ui/dom";
import { nameOf } from "../../ui/face";
import { clipped, count } from "../../ui/format";
import { icon } from "../../ui/icons";
import type { Context, State, View, ViewKind } from "../../view";
import { Card } from "./card";
import { FILTERS, listed, SORTS } from "./filter";
import { Listbox } from "./listbox";
import { MarginStrip } from "./strip";

const ROW = 68, // of a card
  LINE = 28; // of a dense list

class Gallery implements View {
  #context: Context;
  #dynamics: Dynamics | null = null;
  #scale = 1;
  #list: Listbox<Card>;
  #strip = new MarginStrip();
  #dense: HTMLButtonElement;
  #count: HTMLElement;
  #search: HTMLInputElement;
  #filters: HTMLButtonElement[];
  #nothing: HTMLElement;
  #label: HTMLSelectElement | null = null;
  #group: HTMLSelectElement | null = null;
  #asked: HTMLSelectElement | null = null;
  #sort: HTMLSelectElement;
  #question = "";
  #revealed: number | null = null;
  #state: State | null = null;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { record, store, signal, guard } = context;
    this.#count = el("span", { class: "dg-muted" });
    this.#search = el("input", {
      type: "search",
      placeholder: "Search, or #id",
      "aria-label": "Search test examples",
      "data-testid": "dg-search",
      spellcheck: "false",
      autocomplete: "off",
    });
    this.#search.addEventListener(
      "input",
      guard(() => store.set({ search: this.#search.value })),
      { signal },
    );
    this.#filters = FILTERS.map(([value, text]) =>
      el(
        "button",
        {
          type: "button",
          class: "dg-chip",
          "data-value": value,
          "data-testid": `dg-filter-${value}`,
        },
        text,
      ),
    );
    for (const button of this.#filters)
      button.addEventListener(
        "click",
        guard(() => store.set({ filter: button.dataset.value! })),
        { signal },
      );
    if (!record.attrs.has_dynamics_test)
      for (const button of this.#filters.slice(1)) button.disabled = true;
    const all = (names: readonly string[], what: string) => [
      { value: "", text: what },
      ...names.map((name) => ({ value: `=${name}`, text: clipped(name, 40) || "(empty)" })),
    ];
    if (record.hasLabels && record.classes.length > 1)
      this.#label = menu("Label", all(record.classes, "any label"), "dg-label");
    if (record.groups.length > 1)
      this.#group = menu("Group", all(record.groups, "any group"), "dg-group");
    if (record.attrs.queries?.length) {
      const questions = record.attrs.queries.map(({ id }) => ({
        value: id,
        text: clipped(id, 60),
      }));
      const none = { value: "", text: "one test example" };
      this.#asked = menu("What is asked about", [none, ...questions], "dg-query");
      this.#asked.addEventListener(
        "change",
        guard(() => store.set({ query: this.#asked!.value || null })),
        { signal },
      );
    }
    this.#sort = menu(
      "Order",
      SORTS.map(([value, text]) => ({ value, text })),
      "dg-sort",
    );
    this.#label?.addEventListener(
      "change",
      guard(() => store.set({ label: this.#label!.value ? this.#label!.value.slice(1) : null })),
      { signal },
    );
    this.#group?.addEventListener(
      "change",
      guard(() => store.set({ group: this.#group!.value ? this.#group!.value.slice(1) : null })),
      { signal },
    );
    this.#sort.addEventListener(
      "change",
      guard(() => store.set({ sort: this.#sort.value })),
      { signal },
    );
    this.#dense = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        title: "One line for each example, or a card",
        "aria-pressed": "true",
        "data-testid": "dg-dense",
      },
      "dense",
    );
    this.#dense.addEventListener(
      "click",
      guard(() => this.#thicken(this.#dense.getAttribute("aria-pressed") !== "true")),
      { signal },
    );
    this.#nothing = el("p", { class: "dg-empty", hidden: true });
    this.#list = new Listbox(
      context,
      "Test examples",
      ROW,
      () => new Card(),
      (card, position) => this.#fill(card, position),
      (position) => {
        const face = record.examples.test.face(position);
        if (face) {
          this.#revealed = face.id;
          store.set({ test: face.id });
        }
      },
    );
    this.#list.element.addEventListener(
      "pointerover",
      guard((event) => {
        const id = (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset.id;
        store.set(
          { hovered: id === undefined ? null : { split: "test", id: Number(id) } },
          "passing",
        );
      }),
      { signal },
    );
    this.#list.element.addEventListener(
      "pointerleave",
      () => store.set({ hovered: null }, "passing"),
      { signal },
    );
    if (!context.isStatic) {
      const ahead = new Ahead(record.source, signal);
      this.#list.shown = (positions) => {
        const method = record.method(this.#state?.selection.method ?? null)?.id;
        if (method)
          ahead.want(
            positions.flatMap((position) => {
              const face = record.examples.test.face(position);
              return face ? [scoresKey(method, face.id)] : [];
            }),
          );
      };
    }
    slot.append(
      el(
        "div",
        { class: "dg-h2" },
        el("span", { role: "heading", "aria-level": 3 }, "Test examples"),
        this.#count,
        el("span", { class: "dg-push" }),
        this.#dense,
      ),
      el("label", { class: "dg-search" }, icon("search"), this.#search),
      el("div", { class: "dg-chips", role: "group", "aria-label": "Show" }, ...this.#filters),
      ...(this.#asked
        ? [
            el(
              "label",
              { class: "dg-menus dg-small dg-asked" },
              el("span", {}, "Asked about"),
              this.#asked,
            ),
          ]
        : []),
      this.#strip.element,
      el("div", { class: "dg-menus" }, this.#label, this.#group, this.#sort),
      this.#list.element,
      this.#nothing,
    );
    this.#thicken(true);
    context.onSize(this.#strip.element, (width) => {
      this.#strip.size(width);
      context.redraw();
    });
    void this.#load();
  }

  #thicken(dense: boolean): void {
    put(this.#dense, { "aria-pressed": String(dense) });
    this.#list.element.classList.toggle("dg-dense", dense);
    this.#list.row = dense ? LINE : ROW;
  }

  async #load(): Promise<void> {
    const { record, redraw, report } = this.#context;
    try {
      this.#dynamics = await record.dynamics("test");
      this.#scale = this.#dynamics?.marginScale ?? 1;
    } catch (error) {
      report(error);
    }
    this.#question = "";
    redraw();
  }

  update(state: State): void {
    this.#state = state;
    const { record } = this.#context,
      { selection, moving } = state,
      tests = record.examples.test;
    if (focusedIn(this.#search) !== this.#search && this.#search.value !== selection.search)
      this.#search.value = selection.search;
    for (const button of this.#filters)
      put(button, {
        "aria-pressed": String(button.dataset.value === selection.filter),
        title:
          button.dataset.value === "flipped"
            ? "Changed between right and wrong over the brushed range"
            : null,
      });
    if (this.#label) this.#label.value = selection.label === null ? "" : `=${selection.label}`;
    if (this.#group) this.#group.value = selection.group === null ? "" : `=${selection.group}`;
    this.#sort.value = selection.sort;
    if (this.#asked) {
      this.#asked.value = selection.query ?? "";
      put(this.#asked, {
        "data-chosen": selection.query !== null || null,
        title: record.question(selection.query)?.about ?? "What is asked about",
      });
    }
    // while scrubbing the list keeps its order; cards change in place
    const timed =
      selection.filter === "right" ||
      selection.filter === "wrong" ||
      selection.sort.startsWith("margin");
    const question = JSON.stringify([
      selection.search,
      selection.filter,
      selection.label,
      selection.group,
      selection.sort,
      selection.filter === "flipped" ? selection.range : null,
      timed ? selection.epoch : null,
      selection.filter === "selected" ? selection.selected_tests : null,
    ]);
    if (question !== this.#question && !(moving && timed && this.#question)) {
      this.#question = question;
      if (!tests.allHere)
        void tests.loadAll().then(() => {
          this.#question = "";
          this.#context.redraw();
        }, this.#context.report);
      const items = listed(tests.count, (p) => tests.face(p), this.#dynamics, selection);
      this.#list.set(items);
      say(
        this.#count,
        items.length === tests.count
          ? count(tests.count)
          : `${count(items.length)} of ${count(tests.count)}`,
      );
      this.#nothing.hidden = items.length > 0;
      this.#list.element.hidden = items.length === 0;
      say(
        this.#nothing,
        tests.count === 0
          ? "This run records no test examples."
          : selection.filter === "flipped" && !selection.range
            ? "Shift-drag on the timeline to set a range; this then lists what turned right or wrong within it."
            : "No test example passes these filters.",
      );
    }
    if (selection.test !== this.#revealed) {
      const at = selection.test === null ? -1 : tests.position(selection.test);
      if (at >= 0 || selection.test === null) this.#revealed = selection.test;
      if (at >= 0) {
        this.#list.reveal(at);
        this.#announce(at);
      }
    }
    const now = this.#dynamics ? indexBefore(this.#dynamics.epochs, selection.epoch) : 0,
      at = selection.test === null ? -1 : tests.position(selection.test);
    this.#strip.update(this.#dynamics, now, tests.count, this.#scale, at);
    this.#list.refresh();
  }

  #fill(card: Card, position: number): void {
    const { record } = this.#context,
      state = this.#state;
    if (!state) return;
    const face = record.examples.test.face(position),
      dynamics = this.#dynamics;
    card.fill(
      face,
      position,
      dynamics,
      dynamics ? indexBefore(dynamics.epochs, state.selection.epoch) : 0,
      this.#scale,
      record.classes,
      face !== null && face.id === state.selection.test && state.selection.query === null,
    );
  }

  #announce(position: number): void {
    const face = this.#context.record.examples.test.face(position);
    if (face) this.#context.announce(`Test example ${clipped(nameOf(face), 80)} selected`);
  }

  destroy(): void {
    /* listeners and observers end with the signal */
  }
}

export const gallery: ViewKind = {
  name: "gallery",
  title: "Test examples",
  slot: "left",
  has: () => true,
  make: (context, slot) => new Gallery(context, slot),
};
