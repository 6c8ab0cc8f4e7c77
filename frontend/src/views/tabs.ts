// The lower tabs: a view is made when its tab is first opened, and only the open one is updated.
import { el, freshId, put } from "../ui/dom";
import type { Context, State, View, ViewKind } from "../view";

interface Tab {
  kind: ViewKind;
  button: HTMLButtonElement;
  panel: HTMLElement;
  view: View | null;
  made: boolean;
}

export class Tabs implements View {
  readonly element: HTMLElement;
  #tabs: Tab[];
  #make: (kind: ViewKind, slot: HTMLElement) => View | null;

  constructor(
    kinds: ViewKind[],
    context: Context,
    make: (kind: ViewKind, slot: HTMLElement) => View | null,
  ) {
    this.#make = make;
    const strip = el("div", { class: "dg-tablist", role: "tablist", "aria-label": "More views" });
    this.element = el(
      "section",
      { class: "dg-slot dg-tabs", "aria-label": "More views" },
      kinds.length > 1 && strip,
    );
    this.#tabs = kinds.map((kind) => {
      const id = freshId("tab");
      const button = el(
        "button",
        {
          type: "button",
          role: "tab",
          id,
          "aria-controls": `${id}-panel`,
          "data-testid": `dg-tab-${kind.name}`,
        },
        kind.title,
      );
      const panel = el("div", {
        class: "dg-tabpanel",
        role: "tabpanel",
        id: `${id}-panel`,
        "aria-labelledby": id,
        "data-view": kind.name,
        hidden: true,
      });
      if (!kind.has(context.record)) button.classList.add("dg-lacking");
      button.addEventListener("click", () => context.store.set({ tab: kind.name }), {
        signal: context.signal,
      });
      strip.append(button);
      this.element.append(panel);
      return { kind, button, panel, view: null, made: false };
    });
    strip.addEventListener(
      "keydown",
      (event) => {
        const at = this.#tabs.findIndex((tab) => tab.button === event.target);
        const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.#tabs.length - 1 }[
          event.key
        ];
        if (at < 0 || to === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        const tab = this.#tabs[(to + this.#tabs.length) % this.#tabs.length]!;
        context.store.set({ tab: tab.kind.name });
        tab.button.focus();
      },
      { signal: context.signal },
    );
    this.#record = context.record;
  }
  #record: Context["record"];

  update(state: State): void {
    const open =
      this.#tabs.find((tab) => tab.kind.name === state.selection.tab) ??
      this.#tabs.find((tab) => tab.kind.has(this.#record)) ??
      this.#tabs[0];
    for (const tab of this.#tabs) {
      const on = tab === open;
      put(tab.button, { "aria-selected": String(on), tabindex: on ? 0 : -1 });
      tab.panel.hidden = !on;
    }
    if (!open) return;
    if (!open.made) {
      open.made = true;
      if (open.kind.has(this.#record)) open.view = this.#make(open.kind, open.panel);
      else
        open.panel.append(
          el(
            "p",
            { class: "dg-empty" },
            open.kind.lacks ?? "This record does not hold what this view shows.",
          ),
        );
    }
    open.view?.update(state);
  }

  destroy(): void {
    for (const tab of this.#tabs) tab.view?.destroy();
  }
}
