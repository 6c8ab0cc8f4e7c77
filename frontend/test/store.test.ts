import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY } from "../src/state/selection";
import { Store } from "../src/state/store";

test("undo goes back over a whole drag at once", () => {
  const store = new Store(EMPTY);
  store.set({ epoch: 10 });
  for (let epoch = 11; epoch < 40; epoch++) store.set({ epoch }, "passing");
  store.set({ epoch: 40 });
  store.undo();
  assert.equal(store.value.epoch, 10);
  store.undo();
  assert.equal(store.value.epoch, 0);
  assert.equal(store.canUndo, false);
  store.redo();
  store.redo();
  assert.equal(store.value.epoch, 40);
});

test("a drag that comes back to where it began is nothing to undo", () => {
  const store = new Store(EMPTY);
  store.set({ epoch: 3 }, "passing");
  store.set({ epoch: 0 });
  assert.equal(store.canUndo, false);
});

test("a new act ends the way forward", () => {
  const store = new Store(EMPTY);
  store.set({ test: 1 });
  store.set({ test: 2 });
  store.undo();
  store.set({ test: 3 });
  assert.equal(store.canRedo, false);
  store.undo();
  assert.equal(store.value.test, 1);
});

test("undo leaves the search and the open tab alone", () => {
  const store = new Store(EMPTY);
  store.set({ test: 1 });
  store.set({ search: "cat" });
  store.set({ tab: "bias" });
  store.set({ test: 2 });
  store.undo();
  assert.deepEqual([store.value.test, store.value.search, store.value.tab], [1, "cat", "bias"]);
});

test("listeners hear of each change once, and of none that changes nothing", () => {
  const store = new Store(EMPTY),
    heard: string[] = [];
  const stop = store.listen(({ origin, how }) => heard.push(`${origin} ${how}`));
  store.set({ epoch: 1 }, "passing");
  store.set({ epoch: 1 }, "passing");
  store.set({ epoch: 2 }, "settled", "python");
  stop();
  store.set({ epoch: 3 });
  assert.deepEqual(heard, ["board passing", "python settled"]);
});
