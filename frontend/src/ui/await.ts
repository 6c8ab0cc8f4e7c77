// Blocks that a view waits for: asked for once, with words for waiting and for failing.
import type { Blocks } from "../data/blocks";
import { NotHere } from "../data/source";
import type { Context } from "../view";
import { el, say } from "./dom";
import { icon } from "./icons";

export class Waiting {
  readonly element: HTMLElement;
  #context: Context;
  #key = "";
  #blocks: Blocks | null = null;
  #gone = false;

  constructor(context: Context) {
    this.#context = context;
    this.element = el("p", { class: "dg-empty", hidden: true, role: "status" });
  }

  /** The blocks of a key, or null until they are here. */
  take(key: string): Blocks | null {
    if (key === this.#key) return this.#blocks;
    this.#key = key;
    const { record, redraw } = this.#context;
    this.#blocks = record.source.peek(key);
    this.element.hidden = this.#blocks !== null;
    if (this.#blocks) return this.#blocks;
    say(this.element, "Reading …");
    record.source.get(key).then(
      (blocks) => {
        if (key !== this.#key || this.#gone) return;
        this.#blocks = blocks;
        this.element.hidden = true;
        redraw();
      },
      (error: Error) => {
        if (key === this.#key && !this.#gone)
          say(
            this.element,
            error instanceof NotHere ? "This page was saved without it." : error.message,
          );
      },
    );
    return null;
  }
  destroy(): void {
    this.#gone = true;
  }
}

/** A designed empty state: what is missing, why it matters, what to run. */
export function emptyState(title: string, text: string, code?: string): HTMLElement {
  return el(
    "div",
    { class: "dg-designed" },
    icon("grey"),
    el("b", {}, title),
    el("p", {}, text),
    code ? el("code", {}, code) : null,
  );
}
