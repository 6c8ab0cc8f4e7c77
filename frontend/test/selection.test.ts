import assert from "node:assert/strict";
import { test } from "node:test";
import {
  changed,
  EMPTY,
  fromWire,
  packIds,
  patched,
  testOf,
  toWire,
  unpackIds,
} from "../src/state/selection";

test("a patch that changes nothing returns the same value", () => {
  const value = patched(EMPTY, { epoch: 5, selected: [1, 2], range: [0, 5] });
  assert.equal(patched(value, { epoch: 5, selected: [1, 2], range: [0, 5] }), value);
  assert.deepEqual([...changed(EMPTY, value)].sort(), ["epoch", "range", "selected"]);
});

test("who chooses a test example asks about it", () => {
  const asked = patched(EMPTY, { test: 3, query: "sevens/all" });
  assert.equal(testOf(asked), null);
  assert.equal(testOf(patched(asked, { test: 4 })), 4);
  assert.equal(patched(asked, { epoch: 5 }).query, "sevens/all");
});

test("fields nobody knows are not taken over", () => {
  assert.equal(patched(EMPTY, { nonsense: 1 } as never), EMPTY);
});

test("ids survive the wire whatever their number", () => {
  for (const ids of [
    [],
    [7],
    [1, 2, 3],
    Array.from({ length: 5000 }, (_, i) => 3 * i + 1),
    [0, ...Array.from({ length: 300 }, (_, i) => 1_000_000 + 50_000 * i)],
  ]) {
    assert.deepEqual(unpackIds(JSON.parse(JSON.stringify(packIds(ids)))), ids);
  }
});

test("a large selection is not a list of numbers", () => {
  const ids = Array.from({ length: 60000 }, (_, i) => i);
  assert.ok(JSON.stringify(packIds(ids)).length < 11000);
});

test("the wire carries everything but what is under the pointer", () => {
  const value = patched(EMPTY, {
    epoch: 40,
    test: 3,
    selected: [9],
    hovered: { split: "test", id: 1 },
    range: [1, 2],
  });
  const back = patched(EMPTY, fromWire(toWire(value)));
  assert.deepEqual([...changed(value, back)], ["hovered"]);
});
