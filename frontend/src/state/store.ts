// Holds the selection, tells who listens, and remembers the way back.
import { changed, type Patch, patched, type Selection } from "./selection";

/** "passing": one of many on the way (a drag, a frame of playing); the way back skips it. */
export type How = "settled" | "passing";
export type Origin = "board" | "python" | "undo" | "redo";
export interface Change {
  readonly value: Selection;
  readonly before: Selection;
  readonly how: How;
  readonly origin: Origin;
}

// what undo does not bring back: moving about is not an act worth undoing
const NOT_UNDONE = new Set<keyof Selection>(["hovered", "search", "tab"]);

export class Store {
  #value: Selection;
  #settled: Selection;
  #past: Selection[] = [];
  #future: Selection[] = [];
  #listeners = new Set<(change: Change) => void>();

  constructor(first: Selection) {
    this.#value = this.#settled = first;
  }

  get value(): Selection {
    return this.#value;
  }
  get canUndo(): boolean {
    return this.#past.length > 0;
  }
  get canRedo(): boolean {
    return this.#future.length > 0;
  }

  set(patch: Patch, how: How = "settled", origin: Origin = "board"): void {
    const value = patched(this.#value, patch);
    if (value === this.#value && !(how === "settled" && this.#settled !== value)) return;
    if (how === "settled") {
      const differs = [...changed(this.#settled, value)].some((key) => !NOT_UNDONE.has(key));
      if (differs && (origin === "board" || origin === "python")) {
        this.#past.push(this.#settled);
        if (this.#past.length > 200) this.#past.shift();
        this.#future.length = 0;
      }
      this.#settled = value;
    }
    this.#tell(value, how, origin);
  }

  undo(): void {
    this.#travel(this.#past, this.#future, "undo");
  }
  redo(): void {
    this.#travel(this.#future, this.#past, "redo");
  }

  listen(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #travel(from: Selection[], to: Selection[], origin: Origin): void {
    const value = from.pop();
    if (!value) return;
    to.push(this.#settled);
    this.#settled = value;
    const kept = Object.fromEntries([...NOT_UNDONE].map((key) => [key, this.#value[key]]));
    this.#tell({ ...value, ...kept, hovered: null }, "settled", origin);
  }

  #tell(value: Selection, how: How, origin: Origin): void {
    const before = this.#value;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener({ value, before, how, origin });
  }
}
