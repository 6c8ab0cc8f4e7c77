import assert from "node:assert/strict";
import test from "node:test";
import type { Blocks } from "../src/data/blocks";
import { checkedAt } from "../src/views/influencers/removal";

const held: { [name: string]: number[] } = {
  test: [7, 9],
  epoch: [10, 50],
  removed: [1, 2, 3],
  draws: [20],
  change: [-1, -2, -3, NaN],
  low: [-0.1, -0.2, -0.3, -0.4],
  high: [0.1, 0.2, 0.3, 0.4],
  "predicted/trak": [-0.5, -0.6, -0.7, -0.8],
};
const blocks = {
  numbers: (name: string) => Float64Array.from(held[name]!),
  maybe: (name: string) => held[name] ?? null,
} as unknown as Blocks;

test("the check nearest to the moment is read at its own test example", () => {
  assert.deepEqual(checkedAt(blocks, "trak", 9, 12), {
    epoch: 10,
    change: -3,
    low: -0.3,
    high: 0.3,
    predicted: -0.7,
    removed: 3,
    draws: 20,
  });
  assert.equal(checkedAt(blocks, "other", 7, 49)?.predicted, NaN);
});

test("what was not checked is not shown", () => {
  assert.equal(checkedAt(blocks, "trak", 8, 12), null);
  assert.equal(checkedAt(blocks, "trak", 9, 50), null);
});
