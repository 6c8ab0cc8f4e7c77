import assert from "node:assert/strict";
import test from "node:test";
import type { Method } from "../src/data/sent";
import { inDigits, scoreWords, share } from "../src/ui/unit";

const method: Method = { id: "trak", label: "TRAK", about: "", unit: "nats" };

test("a score has a unit, or says that none is known", () => {
  assert.equal(scoreWords(2.8441e-4, method), "TRAK +2.84 × 10⁻⁴ nats");
  assert.match(scoreWords(0.5, { ...method, unit: "" }), /no known unit/);
  assert.equal(scoreWords(NaN, method), "");
});

test("three digits say any size, and the number is the one that was given", () => {
  for (const value of [1.1e-4, 0.0512, 0.73, 4.2, -37, 812, 5.1e4, -9.99e-9]) {
    const plain = inDigits(value)
      .replace("−", "-")
      .replace(/ × 10(.*)$/, (_, power: string) => {
        const digits = [...power].map((c) => (c === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(c)));
        return `e${digits.join("")}`;
      });
    assert.ok(Math.abs(Number(plain) - value) <= Math.abs(value) * 0.006, inDigits(value));
  }
});

test("a share of the largest has a sign and no decimals", () => {
  assert.deepEqual([1, -0.416, 0.001, NaN].map(share), ["+100 %", "−42 %", "0 %", "–"]);
});
