import assert from "node:assert/strict";
import { test } from "node:test";
import { link } from "../src/state/link";
import { EMPTY, toWire } from "../src/state/selection";
import { Store } from "../src/state/store";

/** A model that behaves as Jupyter's: setting a trait tells the listeners of this side too. */
function pair(epochs = [0, 10, 20]) {
  const listeners = new Set<() => void>(),
    saved: unknown[] = [];
  const state: { [key: string]: unknown } = { _selection: toWire(EMPTY) };
  const model = {
    get: (key: string) => state[key],
    set: (key: string, value: unknown) => {
      state[key] = value;
      for (const listener of listeners) listener();
    },
    save_changes: () => {
      saved.push(state._selection);
    },
    send: () => undefined,
    on: (_: string, callback: () => void) => {
      listeners.add(callback);
    },
    off: (_: string, callback?: () => void) => {
      listeners.delete(callback!);
    },
  };
  const store = new Store(EMPTY);
  const stop = link(model, store, () => epochs);
  return { model, store, saved, stop, listeners };
}

test("a settled change is sent once, on a recorded epoch", () => {
  const { store, saved, stop } = pair();
  store.set({ epoch: 11, test: 4 });
  assert.equal(saved.length, 1);
  assert.equal((saved[0] as { epoch: number }).epoch, 10);
  stop();
});

test("a change from Python is taken over and not sent back", () => {
  const { model, store, saved, stop } = pair();
  model.set("_selection", { ...toWire(EMPTY), epoch: 20, selected: [3, 1] });
  assert.equal(store.value.epoch, 20);
  assert.equal(saved.length, 0);
  store.set({ epoch: 20 });
  assert.equal(saved.length, 0);
  stop();
});

test("growth takes nothing back that was chosen meanwhile, and Python hears what that is", () => {
  const { model, store, saved, stop } = pair();
  model.set("_selection", { ...toWire(EMPTY), epoch: 10, test: 4 });
  store.set({ epoch: 0, test: 5 }); // Python, busy reading the record, has not heard of it
  model.set("_selection", { ...toWire(EMPTY), epoch: 20, test: 4, via: "growth" });
  assert.deepEqual([store.value.epoch, store.value.test], [0, 5]);
  const told = saved.at(-1) as { epoch: number; test: number };
  assert.deepEqual([told.epoch, told.test], [0, 5]);
  stop();
});

test("growth chooses where there was nothing to choose", () => {
  const { model, store, saved, stop } = pair();
  store.set({ epoch: 20 }, "settled", "python"); // as the board follows its record
  model.set("_selection", { ...toWire(EMPTY), epoch: 20, test: 7, method: "trak", via: "growth" });
  assert.deepEqual([store.value.test, store.value.method], [7, "trak"]);
  assert.equal(saved.length, 0);
  stop();
});

test("undo says that it is one", () => {
  const { store, saved, stop } = pair();
  store.set({ test: 1 });
  store.undo();
  assert.equal((saved[1] as { via: string }).via, "undo");
  stop();
});

test("nothing is heard after the link is cut", () => {
  const { store, saved, stop, listeners } = pair();
  stop();
  store.set({ test: 9 });
  assert.equal(saved.length, 0);
  assert.equal(listeners.size, 0);
});

test("an undo of Python ends where Python is, also on a board that was shown later", () => {
  const { model, store, saved, stop } = pair();
  model.set("_selection", { ...toWire(EMPTY), epoch: 20 });
  // Python remembers epoch 10 from before this board was there; this board remembers 0
  model.set("_selection", { ...toWire(EMPTY), epoch: 10, via: "undo" });
  assert.equal(store.value.epoch, 10);
  assert.equal(saved.length, 0);
  stop();
});
