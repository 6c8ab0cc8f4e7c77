import assert from "node:assert/strict";
import { test } from "node:test";
import {
  linear,
  logarithmic,
  logTicks,
  path,
  placeLabels,
  ticks,
} from "../src/views/timeline/axis";

test("a scale and its inverse undo each other, and the inverse stays in the domain", () => {
  const x = linear(5, 1505, 48, 1100);
  for (const value of [5, 77, 400, 1505]) assert.ok(Math.abs(x.invert(x(value)) - value) < 1e-9);
  assert.equal(x.invert(-500), 5);
  assert.equal(x.invert(9999), 1505);
  assert.equal(linear(3, 3, 0, 100)(3), 50);
});

test("ticks are round, ascending and inside", () => {
  for (const [first, last] of [
    [0, 1500],
    [0, 7],
    [100, 100.5],
    [0, 1e6],
    [3, 3],
  ] as const) {
    const found = ticks(first, last, 6);
    assert.ok(found.length >= 1 && found.length <= 14, `${found}`);
    for (const value of found) assert.ok(value >= first && value <= last);
    assert.deepEqual(
      found,
      [...found].sort((a, b) => a - b),
    );
  }
  assert.deepEqual(ticks(0, 1500, 6), [0, 250, 500, 750, 1000, 1250, 1500]);
});

test("labels of marks close to each other do not overlap", () => {
  const labels = [100, 104, 109, 118, 590].map((x) => ({ x, width: 70 }));
  const boxes = placeLabels(labels, 0, 600).map((placed, i) => {
    const from = placed.anchor === "start" ? placed.x : placed.x - labels[i]!.width;
    return { row: placed.row, from, to: from + labels[i]!.width };
  });
  boxes.forEach((a, i) =>
    boxes
      .slice(i + 1)
      .forEach((b) =>
        assert.ok(a.row !== b.row || a.to <= b.from || b.to <= a.from, JSON.stringify([a, b])),
      ),
  );
  assert.ok(boxes.every(({ from, to }) => from >= 0 && to <= 600));
});

test("a label stands right of its line, a row higher where another is in the way, and left only at the end", () => {
  assert.deepEqual(
    placeLabels(
      [
        { x: 100, width: 70 },
        { x: 140, width: 70 },
        { x: 560, width: 70 },
      ],
      0,
      600,
    ),
    [
      { x: 105, anchor: "start", row: 0 },
      { x: 145, anchor: "start", row: 1 },
      { x: 555, anchor: "end", row: 0 },
    ],
  );
});

test("a curve has a gap where a value is missing", () => {
  const same = (v: number): number => v;
  assert.equal(path([0, 1, 2, 3], [1, NaN, 3, 4], same, same), "M0.0,1.0M2.0,3.0L3.0,4.0");
});

test("a logarithmic axis gives the first tenth a third of its width and finds its way back", () => {
  const x = logarithmic(0, 1000, 10, 0, 900);
  assert.equal(x(0), 0);
  assert.ok(Math.abs(x(1000) - 900) < 1e-9);
  assert.ok(x(100) > 300 && linear(0, 1000, 0, 900)(100) === 90);
  for (const value of [0, 3, 55, 400, 1000])
    assert.ok(Math.abs(x.invert(x(value)) - value) < 1e-6 * (1 + value));
});

test("its ticks are round, ascending and apart", () => {
  const x = logarithmic(0, 1500, 25, 60, 800),
    round = logTicks(0, 1500, x, 40);
  for (let i = 1; i < round.length; i++) assert.ok(x(round[i]!) - x(round[i - 1]!) >= 40);
  assert.ok(round.length > 4 && round[0] === 0);
});

test("a label steps over a curve, and over nothing where there is no free place", () => {
  const label = [{ x: 100, width: 60 }];
  assert.equal(placeLabels(label, 0, 600, 5, (row) => row === 0)[0]!.row, 1);
  assert.equal(placeLabels(label, 0, 600, 5, () => true)[0]!.row, 0);
});
