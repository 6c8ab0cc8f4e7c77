import assert from "node:assert/strict";
import { test } from "node:test";
import type { Face } from "../src/data/examples";
import { chipsOf, sharedWords } from "../src/views/influencers/chips";
import { outline } from "../src/views/influencers/distribution";

const face = (more: Partial<Face>): Face => ({
  split: "train",
  id: 1,
  position: 0,
  label: "1",
  labelCode: 1,
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

test("shared words leave out the label and signs", () => {
  assert.deepEqual(sharedWords(face({ text: "14 + 18 = 1" }), face({ text: "18 + 14 = 1" })), [
    "14",
    "18",
  ]);
  assert.deepEqual(
    sharedWords(face({ text: "1 + 0 = 1" }), face({ text: "1 + 3 = 4", label: "4" })),
    [],
  );
});

test("chips name what is the same, and warnings first", () => {
  const test = face({ text: "14 + 18 = 1" });
  assert.deepEqual(
    chipsOf(
      test,
      face({
        text: "8 + 18 = 26",
        labelCode: 26,
        label: "26",
        flags: ["never learned", "suspected mislabel"],
      }),
    ).map((chip) => chip.text),
    ["never learned", "mislabel?", "shares 18"],
  );
  assert.deepEqual(
    chipsOf(test, face({ text: "15 + 17 = 1" })).map((chip) => chip.kind),
    [], // its text says its label
  );
  assert.deepEqual(
    chipsOf(test, face({ text: "15 + 17 = 1", group: "rare", memorization: 0.934 })).map(
      (chip) => chip.text,
    ),
    ["rare", "mem 0.93"],
  );
  assert.deepEqual(chipsOf(test, null), []);
  assert.deepEqual(
    [1, 2].map(
      (code) => chipsOf(test, face({ labelCode: code, label: `${code}`, cells: [["a", "5"]] }))[0],
    ),
    [
      { text: "1", kind: "same", about: "label 1, the same" },
      { text: "2", kind: "plain", about: "label 2, another" },
    ],
  );
  // a picture is named by its label already
  assert.deepEqual(chipsOf(test, face({ labelCode: 2, label: "2" })), []);
  assert.deepEqual(chipsOf(face({ labelCode: -1 }), face({ labelCode: -1, label: "" })), []);
});

test("an empty histogram draws nothing, a full one closes its outline", () => {
  assert.equal(outline([0, 0], 0, 2, 10, 10), "");
  assert.equal(outline([4, 1], 0, 2, 10, 10), "M0,10L0.0,0.0L5.0,0.0L5.0,5.0L10.0,5.0L10,10Z");
});
