// The course of every example of a split through training.
import type { Blocks, Numbers } from "./blocks";

export class Dynamics {
  readonly epochs: Numbers;
  readonly count: number;
  #margin: Numbers | null;
  #prediction: Numbers | null;
  #correct: Numbers | null;

  constructor(blocks: Blocks) {
    this.epochs = blocks.numbers("epoch");
    this.#margin = blocks.maybe("margin");
    this.#prediction = blocks.maybe("prediction");
    this.#correct = blocks.maybe("correct");
    const any = ["margin", "prediction", "correct"].find((name) => blocks.has(name));
    this.count = any ? (blocks.shape(any)[1] ?? 0) : 0;
  }

  /** NaN where the example was not seen. */
  margin(epoch: number, position: number): number {
    return this.#margin?.[epoch * this.count + position] ?? NaN;
  }
  /** Code among the record's classes, -1 where not seen. */
  prediction(epoch: number, position: number): number {
    return this.#prediction?.[epoch * this.count + position] ?? -1;
  }
  correct(epoch: number, position: number): boolean {
    return this.#correct?.[epoch * this.count + position] === 1;
  }

  /** Index of the epoch since which the answer has been what it is at `epoch`, without a break. */
  since(epoch: number, position: number): number {
    const now = this.correct(epoch, position);
    let i = epoch;
    while (i > 0 && this.correct(i - 1, position) === now) i--;
    return i;
  }
  /** Index of the first right answer, or -1. */
  firstRight(position: number, until = this.epochs.length - 1): number {
    for (let i = 0; i <= until; i++) if (this.correct(i, position)) return i;
    return -1;
  }
  /** Mean margin over the whole run; NaN rows are left out. */
  meanMargin(position: number): number {
    let sum = 0,
      n = 0;
    for (let i = 0; i < this.epochs.length; i++) {
      const m = this.margin(i, position);
      if (Number.isFinite(m)) {
        sum += m;
        n++;
      }
    }
    return n ? sum / n : NaN;
  }
  /** The margin that 98 % of the finite ones stay within: the scale of margin bars. */
  get marginScale(): number {
    if (!this.#margin) return 1;
    const step = Math.max(1, Math.floor(this.#margin.length / 20000)),
      sizes: number[] = [];
    for (let i = 0; i < this.#margin.length; i += step) {
      const m = Math.abs(this.#margin[i]!);
      if (Number.isFinite(m)) sizes.push(m);
    }
    sizes.sort((a, b) => a - b);
    return sizes[Math.floor(sizes.length * 0.98)] || 1;
  }
}
