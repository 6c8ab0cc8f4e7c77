import assert from "node:assert/strict";
import { test } from "node:test";
import { clipped, magnitude, nats, percent, signed } from "../src/ui/format";

test("a share below one never reads 100 %, nor above zero 0 %", () => {
  assert.equal(percent(1), "100 %");
  assert.equal(percent(0.9999), "99.9 %");
  assert.equal(percent(0.0001), "0.1 %");
  assert.equal(percent(0), "0 %");
  assert.equal(percent(-0.007), "−0.7 %");
  assert.equal(percent(NaN), "–");
});

test("scores of any size are read in a few characters", () => {
  for (const value of [0, 1e-9, 3.2e-5, 0.0561, 1.5, 42.123, 999.6, 1e5, 9.96e7])
    assert.ok(signed(value).length <= 8, signed(value));
  assert.equal(signed(0.0561), "+0.056");
  assert.equal(signed(-1.234), "−1.23");
  assert.equal(magnitude(9.96e-5), "1.0e−4");
  assert.equal(nats(-2.94), "−2.9");
});

test("emoji are not cut in half", () => {
  const family = "👨‍👩‍👧‍👦";
  assert.equal(clipped(family.repeat(5), 3), `${family}${family}…`);
  assert.equal(clipped("short", 10), "short");
});
