import assert from "node:assert/strict";
import test from "node:test";
import { curveOf, largest, lesson, worst } from "../src/views/bias/groups";
import { apart, band, domainOf } from "../src/views/chart/layout";
import { ownTime } from "../src/views/comparison/comparison";
import { ordered } from "../src/views/evolution/palette";
import { edges, paint, toneOf } from "../src/views/gradients/cells";
import { bars, courseOf, crowd, extremes, gains, standout } from "../src/views/transition/gain";

test("a gain is the difference of the scores, each in its own epoch's units", () => {
  const mean = [1, -0.5, /* second epoch */ 0.5, 1];
  assert.deepEqual([...gains(mean, [2, 4], 2, 0, 1)], [0.5 * 4 - 1 * 2, 1 * 4 + 0.5 * 2]);
  assert.deepEqual([...courseOf(mean, [2, 4], 2, 1)], [-1, 4]);
});

test("the extremes of one sign never include the other, zero or NaN, and ties keep their order", () => {
  assert.deepEqual(extremes([3, -1, 0, NaN, 3, 1], 9, 1), [0, 4, 5]);
  assert.deepEqual(extremes([3, -1, 0, NaN, -2], 1, -1), [4]);
});

test("what is expected of a draw adds up to the size of the draw", () => {
  const list = bars([0, 0, 1, 2, -1, 1], ["a", "b", "c"], [0, 1, 4]);
  assert.deepEqual(
    list.map((bar) => bar.count),
    [2, 0, 0],
  );
  assert.ok(Math.abs(list.reduce((sum, bar) => sum + bar.expected, 0) - 2) < 1e-12);
});

test("a kind stands out only where random draws of as many hardly ever show one as far off", () => {
  const codes = Array.from({ length: 400 }, (_, row) => row % 8),
    names = [..."abcdefgh"];
  const some = (kind: number, n: number): number[] =>
    codes.flatMap((code, row) => (code === kind ? [row] : [])).slice(0, n);
  const mixed = codes.map((_, row) => row).slice(0, 40);
  assert.equal(standout(codes, names, mixed), null);
  assert.equal(standout(codes, names, [...some(3, 20), ...mixed.slice(0, 20)])?.name, "d");
  // one that is missing altogether is as telling as one that is frequent
  const without = codes.flatMap((code, row) => (code ? [row] : [])).slice(0, 100);
  assert.equal(standout(codes, names, without)?.name, "a");
  assert.equal(standout(codes, names, []), null);
  assert.equal(standout([], [], []), null);
  assert.equal(
    standout(
      codes,
      names,
      codes.map((_, row) => row),
    ),
    null,
  );
});

test("sets drawn at random stand out in about one of twenty, with 10 kinds as with 100", () => {
  let state = 7;
  const random = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
  for (const kinds of [10, 30, 100]) {
    const names = Array.from({ length: kinds }, (_, kind) => `${kind}`),
      trials = 300;
    let found = 0;
    for (let trial = 0; trial < trials; trial++) {
      const codes = Array.from({ length: 480 }, () => Math.floor(random() * kinds)),
        rows = codes.map((_, row) => row).sort(() => random() - 0.5);
      if (standout(codes, names, rows.slice(0, 60), 199)) found++;
    }
    assert.ok(
      found / trials <= 0.05 + 2.5 * Math.sqrt((0.05 * 0.95) / trials),
      `${found} of ${trials} with ${kinds} kinds`,
    );
  }
});

test("the crowd of gainers is an eighth within bounds", () => {
  assert.deepEqual([4, 40, 480, 1e6].map(crowd), [4, 10, 60, 500]);
});

test("sizes are shown by their logarithm, cosines around zero", () => {
  const tone = toneOf("norm", [1e-3, 1, NaN, 0]);
  assert.ok(Math.abs(tone.share(Math.sqrt(1e-3)) - 0.5) < 1e-12);
  assert.equal(tone.share(0), 0);
  assert.equal(toneOf("cosine_to_previous", []).share(0), 0.5);
  assert.equal(toneOf("norm", [NaN]).share(1), 0);
  assert.equal(paint(NaN, tone, ordered(false)), null);
});

test("cells meet half way between recorded moments and cover the whole run", () => {
  assert.deepEqual(edges([0, 10, 40]), [0, 5, 25, 40]);
  assert.deepEqual(edges([3]), [2.5, 3.5]);
});

test("labels keep their distance and their order, and stay within where they fit", () => {
  const out = apart([50, 50, 51, 10], 13, 5, 100);
  const sorted = [...out].sort((a, b) => a - b);
  assert.ok(sorted.slice(1).every((y, i) => y - sorted[i]! >= 13 - 1e-9));
  assert.ok(out[3]! < out[0]! && out[0]! < out[1]! && out[1]! < out[2]!);
  assert.ok(Math.max(...apart([99, 100, 100], 13, 0, 100)) <= 100);
});

test("a chart's domain holds zero, every finite value and every interval", () => {
  const [low, high] = domainOf([
    { values: [0.2, NaN, 0.4], low: [-0.1, NaN, 0.3], high: [0.3, NaN, 0.9] },
  ]);
  assert.ok(low < -0.1 && high > 0.9 && high < 1);
  assert.deepEqual(domainOf([{ values: [0.5] }], 0, 1), [0, 1]);
  assert.deepEqual(domainOf([]), [0, 1.04]);
});

test("an interval's band is broken where it is not known", () => {
  const same = (v: number): number => v;
  assert.equal(
    band([0, 1, 2, 3], [0, 0, NaN, 0], [1, 1, NaN, 1], same, same).split("Z").length - 1,
    2,
  );
});

test("the worst group is the lowest at that moment, and a group without examples is never it", () => {
  const accuracy = [0.5, NaN, 0.2, /* later */ 0.1, NaN, 0.9];
  assert.equal(worst(accuracy, 3, 0), 2);
  assert.equal(worst(accuracy, 3, 1), 0);
  assert.equal(worst([NaN], 1, 0), -1);
  assert.deepEqual([...curveOf(accuracy, 2, 3, 2)], [0.2, 0.9]);
});

test("a lesson is read by test group, then training group", () => {
  const mean = Array.from({ length: 2 * 2 * 2 }, (_, i) => i);
  assert.deepEqual([...lesson(mean, 2, 2, 1, 0)], [2, 6]);
  assert.equal(largest([1, -9, NaN, 2, 50, 0, 0, 0], 2, 0), 9);
});

test("a run's own time follows from its ends", () => {
  assert.deepEqual(
    [0, 50, 100].map((p) => ownTime(p, 10, 110)),
    [10, 60, 110],
  );
});
