// What the scatter needs, as it arrives: positions around the moment, dynamics, scores.

import type { Numbers } from "../../data/blocks";
import type { Dynamics } from "../../data/dynamics";
import { indexNearest } from "../../data/epochs";
import { between, Projection } from "../../data/projection";
import type { TestScores } from "../../data/scores";
import { NotHere } from "../../data/source";
import { type Selection, testOf } from "../../state/selection";
import type { Context } from "../../view";

const WHOLE_BYTES = 24_000_000; // of positions over all epochs

export class Material {
  projection: Projection | null = null;
  trouble: Error | null = null;
  train: Dynamics | null = null;
  test: Dynamics | null = null;
  scores: TestScores | null = null;
  /** Scores (epoch, train) of all training examples, in units of the largest, where the kernel could give them. */
  rows: { values: Numbers; count: number } | null = null;
  /** Grows whenever something arrived that colours may depend on; `scores` aside. */
  version = 0;
  #context: Context;
  #layer = "";
  #scored = "";
  #rowed = "";
  #asked = new Set<number>();
  #gone = false;

  constructor(context: Context) {
    this.#context = context;
    const { record } = context;
    for (const split of ["train", "test"] as const)
      record.dynamics(split).then(
        (dynamics) => {
          this[split] = dynamics;
          this.#arrived();
        },
        (error) => this.#failed(error),
      );
  }

  want(selection: Selection): void {
    const { record } = this.#context,
      { layers } = record.attrs;
    const layer =
      selection.layer !== null && layers.includes(selection.layer) ? selection.layer : layers[0];
    if (layer !== undefined && layer !== this.#layer) this.#open(layer);
    if (this.projection) {
      const { before, after } = between(this.projection.epochs, selection.epoch);
      // what is needed now, and what playing needs next
      for (const epoch of [before, after, after + 1]) this.#fetch(epoch);
      this.#fetchAll(before);
    }
    const wanted = record.method(selection.method),
      question = record.question(selection.query),
      method = question ? record.answering(question, wanted).id : wanted?.id,
      test = testOf(selection);
    const scored = question
      ? `query/${question.id}/${method}`
      : method && test !== null
        ? `${method}/${test}`
        : "";
    if (scored !== this.#scored) {
      this.#scored = scored;
      this.scores = null;
      this.rows = null;
      this.#rowed = "";
      if (scored)
        (question ? record.answers(question, method!) : record.scores(method!, test!)).then(
          (scores) => {
            if (scored === this.#scored) {
              this.scores = scores;
              this.#arrived(false);
            }
          },
          () => {
            /* the influencers' panel says why */
          },
        );
    }
    // of a question the strongest are known only
    if (selection.colour === "influence" && scored && !question) this.#wantRows(scored);
  }

  positions(epoch: number): Uint16Array | null {
    return this.projection?.at(epoch) ?? null;
  }

  /** Changes where a colour that follows time would. */
  stamp(moment: number): string {
    return [this.train, this.test, this.scores]
      .map((part) => (part?.epochs.length ? indexNearest(part.epochs, moment) : -1))
      .join("/");
  }

  #open(layer: string): void {
    this.#layer = layer;
    this.projection = null;
    this.trouble = null;
    this.#asked.clear();
    Projection.load(layer, this.#context.record.source).then(
      (projection) => {
        if (layer === this.#layer) {
          this.projection = projection;
          this.#arrived();
        }
      },
      (error: Error) => {
        if (layer === this.#layer) {
          this.trouble = error;
          this.#arrived();
        }
      },
    );
  }

  #fetch(epoch: number): void {
    const { projection } = this;
    if (
      !projection ||
      epoch >= projection.epochs.length ||
      this.#asked.has(epoch) ||
      projection.at(epoch)
    )
      return;
    this.#asked.add(epoch);
    projection.wait(epoch).then(
      () => {
        this.#asked.delete(epoch);
        this.#arrived(false);
      },
      (error) => this.#failed(error),
    );
  }

  /** Of a run that fits, the other epochs too, one answer after the other: a scrub may go anywhere. */
  #fetchAll(from: number): void {
    const { projection } = this;
    if (!projection || this.#asked.size || this.#context.isStatic) return;
    const { length } = projection.epochs;
    if (projection.count * length * 4 > WHOLE_BYTES) return;
    for (let i = 0; i < length; i++)
      if (!projection.has((from + i) % length)) {
        this.#fetch((from + i) % length);
        return;
      }
  }

  #wantRows(scored: string): void {
    if (scored === this.#rowed) return;
    this.#rowed = scored;
    this.#context.record.source.get(`row/${scored}`).then(
      (blocks) => {
        if (scored !== this.#rowed) return;
        const { values, shape } = blocks.grid("score");
        this.rows = { values, count: shape[1] ?? 0 };
        this.#arrived();
      },
      () => {
        /* a saved page holds the strongest only */
      },
    );
  }

  #arrived(colours = true): void {
    if (this.#gone) return;
    if (colours) this.version++;
    this.#context.redraw();
  }
  #failed(error: unknown): void {
    // what is not here is not drawn: the board says already that no kernel answers
    if (!this.#gone && !(error instanceof NotHere)) this.#context.report(error);
  }
  destroy(): void {
    this.#gone = true;
  }
}
