import assert from "node:assert/strict";
import { test } from "node:test";
import { advance, WHOLE_RUN_S } from "../src/state/player";

test("a whole run takes its time whatever its length in epochs", () => {
  for (const last of [10, 1500, 1e6]) {
    let moment: number | null = 0,
      seconds = 0;
    while (moment !== null && seconds < 100) {
      moment = advance(moment, 1 / 60, 0, last, 1, false);
      seconds += 1 / 60;
    }
    assert.ok(Math.abs(seconds - WHOLE_RUN_S) < 0.1, String(seconds));
  }
});

test("a loop begins again where it began", () => {
  const next = advance(99, 1, 50, 100, 4, true)!;
  assert.ok(next >= 50 && next < 100);
});
