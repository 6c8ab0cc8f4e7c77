import assert from "node:assert/strict";
import { test } from "node:test";
import { indexBefore, indexNearest, neighbour, valueAt } from "../src/data/epochs";

const EPOCHS = [0, 5, 10, 50, 100];

test("the nearest recorded epoch agrees with a slow search", () => {
  for (let moment = -5; moment <= 110; moment += 0.5) {
    const slow = EPOCHS.map((epoch, i) => [Math.abs(epoch - moment), i] as const).sort(
      (a, b) => a[0] - b[0] || a[1] - b[1],
    )[0]![1];
    assert.equal(indexNearest(EPOCHS, moment), slow, `at ${moment}`);
    const before = EPOCHS.filter((epoch) => epoch <= moment).length - 1;
    assert.equal(indexBefore(EPOCHS, moment), Math.max(0, before));
  }
});

test("stepping visits every recorded epoch and stops at the ends", () => {
  const seen = [0];
  for (let i = 0; i < 10; i++) seen.push(neighbour(EPOCHS, seen[seen.length - 1]!, 1));
  assert.deepEqual([...new Set(seen)], EPOCHS);
  assert.equal(neighbour(EPOCHS, 0, -1), 0);
  assert.equal(neighbour(EPOCHS, 7, -1), 5);
  assert.equal(neighbour(EPOCHS, 7, 1), 10);
  assert.equal(neighbour(EPOCHS, -3, 1), 0);
});

test("a curve between recorded epochs is their weighted mean", () => {
  assert.equal(valueAt([0, 10], [0, 1], 2.5), 0.25);
  assert.equal(valueAt([0, 10], [3, 1], 99), 1);
  assert.ok(Number.isNaN(valueAt([], [], 1)));
});
