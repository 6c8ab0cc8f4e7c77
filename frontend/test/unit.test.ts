import assert from "node:assert/strict";
import test from "node:test";
import { inUnit, unitName, unitOf } from "../src/ui/unit";

test("the largest score has three digits, whatever its size", () => {
  for (const largest of [1.1e-4, 2.84e-3, 0.0512, 0.73, 4.2, 37, 812, 5.1e4, 9.99e-9]) {
    const unit = unitOf(largest),
      text = inUnit(largest, unit);
    assert.ok(
      text.replace(/[^1-9]*(\d)/, "$1").replace(/\D/g, "").length === 3,
      `${largest} reads ${text} ${unitName(unit)}`,
    );
    assert.ok(Math.abs(Number(text) * 10 ** unit.power - largest) <= largest * 0.006);
  }
});

test("scores beside the largest keep its unit and its places", () => {
  const unit = unitOf(0.00284);
  assert.deepEqual(
    [0.00284, -0.00092, 0.00049, -1e-9, NaN].map((value) => inUnit(value, unit)),
    ["+2.84", "−0.92", "+0.49", "0.00", "–"],
  );
  assert.equal(unitName(unit), "× 10⁻³");
  assert.equal(unitName(unitOf(0.05)), "");
  assert.equal(unitName(unitOf(2e-14)), "× 10⁻¹⁵");
});

test("nothing to measure is a plain unit", () => {
  for (const largest of [0, NaN, Infinity]) assert.equal(unitName(unitOf(largest)), "");
});
