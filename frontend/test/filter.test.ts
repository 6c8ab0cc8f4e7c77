import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dynamics } from "../src/data/dynamics";
import type { Face } from "../src/data/examples";
import { EMPTY, type Patch, patched } from "../src/state/selection";
import { listed } from "../src/views/gallery/filter";

const RIGHT = [
  [0, 0, 1, 0],
  [0, 1, 1, 0],
  [1, 1, 0, 0],
]; // epoch 0, 10, 20 by example
const MARGIN = [
  [-1, -2, 3, -4],
  [-1, 2, 1, NaN],
  [2, 5, -3, -1],
];
const dynamics = {
  epochs: Int32Array.of(0, 10, 20),
  count: 4,
  correct: (epoch: number, p: number) => RIGHT[epoch]![p] === 1,
  margin: (epoch: number, p: number) => MARGIN[epoch]![p]!,
  firstRight: (p: number) => RIGHT.findIndex((row) => row[p]),
  meanMargin: (p: number) => MARGIN.reduce((sum, row) => sum + (row[p] || 0), 0) / 3,
} as unknown as Dynamics;
const face = (p: number): Face =>
  ({
    id: 100 + p,
    label: p % 2 ? "cat" : "dog",
    group: p < 2 ? "a" : "b",
    text: `Example ${"wxyz"[p]}`,
    cells: [],
  }) as unknown as Face;
const ask = (patch: Patch): number[] => listed(4, face, dynamics, patched(EMPTY, patch));

test("filters say what is so at the epoch shown", () => {
  assert.deepEqual(ask({ epoch: 10, filter: "right" }), [1, 2]);
  assert.deepEqual(ask({ epoch: 19.9, filter: "wrong" }), [0, 3]);
  assert.deepEqual(ask({ filter: "flipped", range: [0, 20] }), [0, 1, 2]);
  assert.deepEqual(ask({ filter: "flipped" }), []);
});

test("search finds text in any case, labels whole, and ids", () => {
  assert.deepEqual(ask({ search: "EXAMPLE Y" }), [2]);
  assert.deepEqual(ask({ search: "cat" }), [1, 3]);
  assert.deepEqual(ask({ search: "#103" }), [3]);
  assert.deepEqual(ask({ search: "ca" }), []);
  assert.deepEqual(ask({ label: "dog", group: "b" }), [2]);
});

test("orders put what is not recorded last", () => {
  assert.deepEqual(ask({ epoch: 10, sort: "margin" }), [0, 2, 1, 3]);
  assert.deepEqual(ask({ sort: "learned" }), [2, 1, 0, 3]);
  assert.deepEqual(ask({ sort: "order" }), [0, 1, 2, 3]);
});
