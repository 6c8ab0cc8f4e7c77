// Title, method menu, the lights of both truths, how often the board was checked, undo and redo.
import { iconButton, menu } from "../ui/controls";
import { el, put, say } from "../ui/dom";
import { count } from "../ui/format";
import { icon, turnInto } from "../ui/icons";
import type { Context, State, View, ViewKind } from "../view";

/** What a board does to check itself, by the name of its job. */
const PARTS: Record<string, string> = {
  metasmoothness: "metasmoothness",
  retrain: "retrainings",
  exact: "exact scores",
};

class Head implements View {
  #context: Context;
  #method: HTMLSelectElement | null = null;
  #light: HTMLButtonElement;
  #lightText: HTMLElement;
  #any: HTMLButtonElement;
  #anyText = el("span", { class: "dg-more" });
  #checked: HTMLElement;
  #checkedText = el("span");
  #unit = el("span", { class: "dg-more" });
  #toGo = el("span");
  #check: HTMLButtonElement;
  #slot: HTMLElement;
  #tab: HTMLElement | null = null;
  #undo: HTMLButtonElement;
  #redo: HTMLButtonElement;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    this.#slot = slot;
    const stop = context.asking.listen(context.redraw);
    context.signal.addEventListener("abort", stop);
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
    this.#any = el(
      "button",
      { type: "button", class: "dg-light dg-any", "data-testid": "dg-light-any" },
      icon("grey"),
      el("span", { class: "dg-clip" }, "any start", this.#anyText),
    );
    for (const light of [this.#light, this.#any])
      light.addEventListener(
        "click",
        () => {
          store.set({ tab: "validity" });
          this.#tab?.focus();
        },
        { signal },
      );
    this.#check = iconButton("play", "Have this board check itself", "dg-check");
    this.#check.addEventListener(
      "click",
      context.guard(() => context.asking.check(!this.#isChecking)),
      { signal },
    );
    const said = { "data-testid": "dg-checked" };
    this.#checked = el(
      "span",
      { class: "dg-checked" },
      el("span", said, this.#checkedText, this.#unit, this.#toGo),
      this.#check,
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
        methods.length ? this.#any : null,
        methods.length ? this.#checked : null,
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
    // grey says that nothing is known; something soon will be
    const measured = light.level === "grey" && this.#isChecking;
    say(this.#lightText, measured ? "validity: being measured" : light.text);
    const any = record.light(selection.epoch, method?.id ?? null, "any");
    put(this.#any, {
      "data-level": any.level,
      title: any.detail,
      "aria-label": `from any start: ${any.text}`,
      disabled: !this.#tab,
    });
    turnInto(this.#any, any.level);
    say(this.#anyText, `: ${any.text}`);
    this.#truth();
    this.#undo.disabled = !store.canUndo;
    this.#redo.disabled = !store.canRedo;
  }

  get #isChecking(): boolean {
    const { job } = this.#context.asking;
    return job.name in PARTS && job.state === "running";
  }

  /** How many retrainings stand behind this board, and whether more are under way. */
  #truth(): void {
    const { asking } = this.#context,
      { job } = asking,
      checking = this.#isChecking,
      open = job.name in PARTS && (checking || job.state === "paused"),
      left = open ? Math.max(0, job.total - job.done) : 0,
      // retrainings are counted; of the other parts a share is done
      more =
        job.name === "retrain"
          ? `${count(Math.ceil(left))} to go`
          : `${PARTS[job.name]} ${Math.floor((100 * job.done) / (job.total || 1))} %`;
    const able = asking.live && (job.allowed || checking || job.state === "paused");
    this.#checked.hidden = !job.checked && !able;
    say(this.#checkedText, job.checked ? `checked by ${count(job.checked)}` : "not checked yet");
    say(this.#unit, job.checked ? ` retraining${job.checked === 1 ? "" : "s"}` : "");
    say(this.#toGo, left ? `, ${more}${checking ? "" : " (paused)"}` : "");
    this.#check.hidden = !able || (checking && job.pauses === false);
    const label = checking
      ? "Pause the check"
      : left
        ? "Go on with the check"
        : "Have this board check itself: train again without random examples, in the background";
    put(this.#check, { "aria-label": label, title: label });
    turnInto(this.#check, checking ? "pause" : "play");
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
