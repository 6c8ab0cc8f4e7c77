// Title, method menu, validity light, undo and redo.
import { iconButton, menu } from "../ui/controls";
import { el, put, say } from "../ui/dom";
import { icon, turnInto } from "../ui/icons";
import type { Context, State, View, ViewKind } from "../view";

class Head implements View {
  #context: Context;
  #method: HTMLSelectElement | null = null;
  #light: HTMLButtonElement;
  #lightText: HTMLElement;
  #slot: HTMLElement;
  #tab: HTMLElement | null = null;
  #undo: HTMLButtonElement;
  #redo: HTMLButtonElement;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    this.#slot = slot;
    const { record, store, signal } = context;
    this.#undo = iconButton("undo", "Undo selection (Ctrl+Z)", "dg-undo");
    this.#redo = iconButton("redo", "Redo selection (Ctrl+Shift+Z)", "dg-redo");
    this.#undo.addEventListener("click", () => store.undo(), { signal });
    this.#redo.addEventListener("click", () => store.redo(), { signal });
    this.#lightText = el("span", { class: "dg-clip" });
    this.#light = el(
      "button",
      { type: "button", class: "dg-light", "data-testid": "dg-light" },
      icon("grey"),
      this.#lightText,
    );
    this.#light.addEventListener(
      "click",
      () => {
        store.set({ tab: "validity" });
        this.#tab?.focus();
      },
      { signal },
    );
    const methods = record.attrs.methods;
    if (methods.length > 1) {
      this.#method = menu(
        "Attribution method",
        methods.map(({ id, label }) => ({ value: id, text: label })),
        "dg-method",
      );
      this.#method.addEventListener("change", () => store.set({ method: this.#method!.value }), {
        signal,
      });
    }
    slot.append(
      el(
        "div",
        { class: "dg-title" },
        el(
          "span",
          {
            class: "dg-h1 dg-clip",
            role: "heading",
            "aria-level": 2,
            dir: "auto",
            title: record.attrs.name,
          },
          record.attrs.name,
        ),
        el(
          "span",
          { class: "dg-muted dg-clip", dir: "auto", title: record.attrs.about },
          record.attrs.about,
        ),
      ),
      el(
        "div",
        { class: "dg-tools" },
        el("span", { class: "dg-pair" }, this.#undo, this.#redo),
        this.#method ??
          (methods[0]
            ? el(
                "span",
                { class: "dg-tag", title: methods[0].about, "data-testid": "dg-method" },
                methods[0].label,
              )
            : null),
        methods.length ? this.#light : null,
      ),
    );
  }

  update({ selection }: State): void {
    const { record, store } = this.#context;
    const method = record.method(selection.method);
    if (this.#method && method) this.#method.value = method.id;
    const light = record.light(selection.epoch, method?.id ?? null);
    // where the board has a tab of its own for it, the light leads there
    this.#tab ??=
      this.#slot
        .closest(".dg-board")
        ?.querySelector<HTMLElement>("[data-testid=dg-tab-validity]") ?? null;
    put(this.#light, { "data-level": light.level, title: light.detail, disabled: !this.#tab });
    turnInto(this.#light, light.level);
    say(this.#lightText, light.text);
    this.#undo.disabled = !store.canUndo;
    this.#redo.disabled = !store.canRedo;
  }

  destroy(): void {
    /* listeners end with the signal */
  }
}

export const head: ViewKind = {
  name: "head",
  title: "Run",
  slot: "head",
  has: () => true,
  make: (context, slot) => new Head(context, slot),
};
