import assert from "node:assert/strict";
import { test } from "node:test";
import type { Face } from "../src/data/examples";
import { nameOf, partsOf } from "../src/ui/face";
import { ending, rankName } from "../src/ui/format";

const face = (more: Partial<Face>): Face => ({
  split: "train",
  id: 7,
  position: 0,
  label: "",
  labelCode: -1,
  group: null,
  name: null,
  text: null,
  picture: null,
  cells: [],
  flags: [],
  firstLearned: null,
  memorization: NaN,
  ...more,
});
const picture = { width: 1, height: 1, channels: 1, bytes: new Uint8Array(1) };

test("a short text names itself, a long one is found by its id", () => {
  assert.deepEqual(partsOf(face({ text: "14 + 18 = 1" })).lead, "14 + 18 = 1");
  const long = partsOf(face({ text: "word ".repeat(30) }));
  assert.equal(long.lead, "#7");
  assert.ok(long.ends);
});

test("a name of the table comes before everything else", () => {
  const row = face({ name: "T-00007", cells: [["age", "41"]], label: "ill", labelCode: 0 });
  assert.equal(nameOf(row), "T-00007 age 41");
});

test("the word label stands nowhere, and without labels nothing does", () => {
  assert.equal(nameOf(face({ picture, label: "cat", labelCode: 0 })), "#7 cat");
  assert.equal(nameOf(face({ picture })), "#7");
});

test("the end of a text is cut between whole characters", () => {
  const family = "👨‍👩‍👧‍👦";
  assert.equal(ending(`abc${family}${family}`, 2), family + family);
  assert.equal(ending("ab", 5), "ab");
});

test("ranks are read as people say them", () =>
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1003].map(rankName), [
    "1st",
    "2nd",
    "3rd",
    "4th",
    "11th",
    "12th",
    "13th",
    "21st",
    "102nd",
    "111th",
    "1,003rd",
  ]));
