import assert from "node:assert/strict";
import test from "node:test";
import { Asking, type WhatIf } from "../src/data/asking";
import type { TestScores } from "../src/data/scores";
import { EMPTY } from "../src/state/selection";
import { wordsFor } from "../src/ui/words";
import { range } from "../src/views/whatif/legend";
import { at, curvesOf } from "../src/views/whatif/plot";
import { choicesOf, firstOf, idList, leftWords } from "../src/views/whatif/which";

const words = wordsFor({ level: "green", text: "", detail: "" });
const scores = {
  train: Int32Array.from({ length: 20 }, (_, i) => 100 + i),
  top: (_: number, side: 0 | 1) => (side ? [19, 18] : [...Array(12).keys()]),
} as unknown as TestScores;

test("a question is about what is selected, else about the tops that there are", () => {
  const idle = choicesOf(EMPTY, scores, 0, words);
  assert.deepEqual(
    idle.map(({ value }) => value),
    ["helped:1", "helped:4", "helped:8"],
  );
  assert.equal(firstOf(idle)?.value, "helped:8");
  assert.deepEqual(firstOf(idle)?.ids, [100, 101, 102, 103, 104, 105, 106, 107]);
  const chosen = choicesOf({ ...EMPTY, selected: [3, 5], train: 7 }, scores, 0, words);
  assert.deepEqual(firstOf(chosen), { value: "selected", text: "the 2 you selected", ids: [3, 5] });
  assert.deepEqual(chosen.find(({ value }) => value === "train")?.ids, [7]);
  assert.equal(firstOf(choicesOf(EMPTY, null, 0, words)), null);
});

test("time left is said in words, and not before it is known", () => {
  assert.equal(leftWords(null), "");
  assert.equal(leftWords(0.4), "a moment left");
  assert.equal(leftWords(12.4), "12 s left");
  assert.equal(leftWords(150), "3 minutes left");
});

test("a long list of ids is cut, and a short one is Python", () => {
  assert.equal(idList([3, 1]), "[3, 1]");
  assert.equal(idList([1, 2, 3], 2), "[1, 2, ...]");
});

test("an interval is said beside its middle, or alone", () => {
  assert.equal(range("−1.2", "−2.0", "−0.5"), "−1.2 (−2.0 to −0.5)");
  assert.equal(range("", "−2.0", "−0.5"), "−2.0 to −0.5");
  assert.equal(range("−1.2", "", ""), "−1.2");
});

const answer = (train: number[], at: number | null, rest: Partial<WhatIf> = {}): WhatIf =>
  ({
    id: `${train}/${at}`,
    train,
    test: at,
    epoch: [0, 10],
    now: [1, 2],
    true: null,
    ...rest,
  }) as WhatIf;

test("what was not measured is bridged, and what was and has no value is not", () => {
  const epoch = [0, 10, 20, 30],
    read = (now: (number | null)[], when: number, gaps: number[] = []): number => {
      const { epochs, now: values } = curvesOf(answer([1], 2, { epoch, now }));
      return at(epochs, values, when, gaps);
    };
  assert.equal(read([1, 2, 3, 4], 5), 1.5);
  assert.equal(read([1, null, 3, 4], 10), 2);
  assert.equal(read([1, null, 3, 4], 10, [10]), NaN);
  assert.equal(read([null, 2, 3, 4], 5), NaN); // before the first
  assert.equal(read([1, 2, null, null], 25), NaN); // after the last
});

function asking(answers: WhatIf[], live = true) {
  const listeners = new Map<string, (...values: unknown[]) => void>(),
    sent: unknown[] = [],
    state: { [key: string]: unknown } = { _asked: answers, _job: { checked: 3 } };
  const model = {
    get: (key: string) => state[key],
    set: () => undefined,
    save_changes: () => undefined,
    send: (message: unknown) => sent.push(message),
    on: (event: string, callback: (...values: unknown[]) => void) => listeners.set(event, callback),
    off: (event: string) => listeners.delete(event),
  };
  const put = (key: string, value: unknown): void => {
    state[key] = value;
    listeners.get(`change:${key}`)?.();
  };
  return {
    asking: new Asking(model, () => live, 9),
    put,
    sent,
    tell: (m: unknown) => listeners.get("msg:custom")!(m),
  };
}

test("an answer is shown when it comes, and not another one", () => {
  const { asking: one, put, sent } = asking([]);
  one.ask([4, 2], 9, "trak");
  assert.deepEqual(sent, [{ kind: "what_if", train: [4, 2], test: 9, method: "trak" }]);
  assert.equal(one.pending, true);
  put("_asked", [answer([7], 9)]);
  assert.equal(one.shown, null);
  put("_asked", [answer([2, 4], 9), answer([7], 9)]);
  assert.deepEqual(one.shown?.train, [2, 4]);
  assert.equal(one.pending, false);
});

test("without a kernel an answer that is there is shown, and what is not is left unanswered", () => {
  const { asking: one, sent } = asking([answer([2, 4], 8), answer([1], 9)], false);
  assert.equal(one.shown, null); // the newest is about another test example
  one.ask([4, 2], 8, null);
  assert.deepEqual(one.shown?.train, [2, 4]);
  assert.equal(one.unanswered, null);
  one.ask([5], 9, null);
  assert.equal(one.shown, null);
  assert.deepEqual(one.unanswered, { train: [5], test: 9 });
  assert.deepEqual(sent, []);
});

test("the same answer again is an answer too", () => {
  const { asking: one, tell } = asking([answer([4], 9)]);
  one.ask([4], 9, null);
  assert.equal(one.pending, true);
  tell({ kind: "what_if_answered" });
  assert.equal(one.pending, false);
  assert.equal(one.unanswered, null);
});

test("a refusal is told in its own words", () => {
  const { asking: one, tell } = asking([]);
  one.ask([4], 9, null);
  tell({ kind: "what_if_refused", error: "All of them would be gone." });
  assert.equal(one.trouble, "All of them would be gone.");
  assert.equal(one.pending, false);
});

test("more retrainings have an open answer asked again", () => {
  const { asking: one, put, sent } = asking([answer([2], 9)]);
  assert.deepEqual(one.shown?.train, [2]);
  put("_job", { checked: 5, state: "done" });
  assert.equal(sent.length, 1);
  assert.equal(one.unanswered, null); // it is shown meanwhile
  put("_job", { checked: 5, state: "done" });
  assert.equal(sent.length, 1);
});
