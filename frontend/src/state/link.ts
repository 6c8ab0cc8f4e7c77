// The selection between browser and Python: one trait, one small value, never echoed.

import { indexNearest } from "../data/epochs";
import type { Model } from "../model";
import { fromWire, toWire, type Wire } from "./selection";
import type { Change, Store } from "./store";

const EVERY_MS = 200; // while playing or dragging Python hears at most five times a second

export function link(model: Model, store: Store, epochs: () => ArrayLike<number>): () => void {
  let last = JSON.stringify(toWire(store.value));
  let timer: ReturnType<typeof setTimeout> | undefined,
    pulling = false;

  const push = (via: string | null): void => {
    clearTimeout(timer);
    timer = undefined;
    const recorded = epochs(),
      wire = toWire(store.value);
    if (recorded.length) wire.epoch = recorded[indexNearest(recorded, store.value.epoch)];
    const text = JSON.stringify(wire);
    if (text === last) return;
    last = text;
    model.set("_selection", via ? { ...wire, via } : wire);
    model.save_changes();
  };
  const stop = store.listen(({ how, origin }: Change) => {
    if (origin === "python" || pulling) return;
    if (how === "settled") push(origin === "undo" || origin === "redo" ? origin : null);
    else timer ??= setTimeout(() => push(null), EVERY_MS);
  });
  /** The record grew, and the board has followed it: what was chosen here meanwhile, and Python
   * had not heard of, stays. Only what was not chosen, as there was nothing, is taken over. */
  const grown = (wire: Wire): void => {
    const { test, method } = fromWire(wire),
      mine = store.value;
    const patch = {
      ...(mine.test === null && test !== undefined ? { test } : {}),
      ...(mine.method === null && method !== undefined ? { method } : {}),
    };
    if (Object.keys(patch).length) store.set(patch, "settled", "python");
  };
  const pull = (): void => {
    const { via, ...wire } = (model.get("_selection") ?? {}) as Wire;
    const text = JSON.stringify(wire);
    if (text === last) return; // our own set comes round as an event too
    if (via === "growth") {
      grown(wire);
      last = text;
      push(null);
      return;
    }
    pulling = true;
    try {
      if (via === "undo") store.undo();
      else if (via === "redo") store.redo();
      // Python may remember more than a board that was shown later: its value is the one that holds
      store.set(fromWire(wire), "settled", "python");
    } finally {
      pulling = false;
    }
    last = JSON.stringify(toWire(store.value));
  };
  model.on("change:_selection", pull);
  return () => {
    stop();
    clearTimeout(timer);
    model.off("change:_selection", pull);
  };
}
