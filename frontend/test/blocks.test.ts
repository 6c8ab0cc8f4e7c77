// The fixture is written by Python (tests/widgets/test_front_end.py), so that both ends of the format agree.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Blocks } from "../src/data/blocks";
import { TestScores } from "../src/data/scores";

const fixture = process.env.DG_FIXTURE;
const read = (name: string): Buffer => readFileSync(`${fixture}/${name}`);

test(
  "what Python packs is what the board reads",
  { skip: fixture ? false : "run by pytest, which writes the fixture" },
  () => {
    for (const shift of [0, 3]) {
      const bytes = read("container.bin"),
        moved = new Uint8Array(bytes.length + shift);
      moved.set(bytes, shift);
      const blocks = new Blocks(new DataView(moved.buffer, shift));
      const wanted = JSON.parse(read("container.json").toString()) as { [name: string]: unknown };
      for (const [name, values] of Object.entries(wanted)) {
        const got =
          typeof (values as unknown[])[0] === "string"
            ? blocks.strings(name)
            : Array.from(blocks.numbers(name), (v) => (Number.isNaN(v) ? "NaN" : v));
        assert.deepEqual(
          got,
          (values as unknown[]).map((v) => (v === null ? "NaN" : v)),
          name,
        );
      }
      assert.deepEqual(Array.from(blocks.pack("inner").numbers("x")), [1, 2, 3]);
      assert.equal(blocks.attrs.title, "</script> ünï");
    }
  },
);

test(
  "top lists, scores and onsets are those Python computes",
  { skip: fixture ? false : "run by pytest, which writes the fixture" },
  () => {
    const { epochs, top, score, onset } = JSON.parse(read("scores.json").toString()) as {
      epochs: number[];
      top: number[][][];
      score: number[][][];
      onset: number[][][];
    };
    const bytes = read("scores.bin");
    const scores = new TestScores(
      new Blocks(new DataView(bytes.buffer, bytes.byteOffset, bytes.length)),
      Int32Array.from(epochs),
    );
    epochs.forEach((_, epoch) =>
      ([0, 1] as const).forEach((side) => {
        const columns = scores.top(epoch, side);
        assert.deepEqual(
          columns.map((column) => scores.train[column]),
          top[epoch]![side],
        );
        columns.forEach((column, rank) => {
          const exact = score[epoch]![side]![rank]!;
          assert.ok(
            Math.abs(scores.score(epoch, column) - exact) <= Math.abs(exact) * 1e-3 + 1e-12,
          );
          assert.equal(scores.onset(epoch, column), onset[epoch]![side]![rank]);
        });
      }),
    );
  },
);

test("bytes that are no container are refused", () => {
  assert.throws(() => new Blocks(new DataView(new ArrayBuffer(64))), /not a block container/);
});
