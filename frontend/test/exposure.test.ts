import assert from "node:assert/strict";
import test from "node:test";
import { exposureWords } from "../src/views/influencers/sparkline";

test("the words name the shortest stretch that holds half of the influence", () => {
  const edges = [0, 10, 20, 30, 40];
  const said = (shares: number[]): string => exposureWords({ shares, edges, at: 40 }, "step");
  assert.match(said([0.1, -1, 0.2, 0.1]), /between step 10 and 20 \(what it did by step 40\)/);
  assert.match(said([1, 0, 0, 1]), /between step 0 and 10/);
  assert.equal(said([0, 0, 0, 0]), "");
});

test("windows of unequal length are compared by their length", () => {
  const edges = [0, 100, 110, 120];
  assert.match(
    exposureWords({ shares: [0.6, 0.3, 0.3], edges, at: 120 }, "epoch"),
    /between epoch 100 and 120/,
  );
});
