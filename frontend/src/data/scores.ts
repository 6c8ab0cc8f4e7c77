// The scores of one test example: its top training examples over all epochs with scores,
// and how all the others are spread. Which are on top was decided in Python from full precision.
import type { Blocks, Numbers } from "./blocks";

export interface Histogram {
  readonly counts: Numbers;
  readonly start: number;
  readonly bins: number;
}

/** When in training one example's influence was laid down: a share for each window, edges between. */
export interface Exposure {
  /** Of its largest window, -1 to 1. */
  readonly shares: ArrayLike<number>;
  readonly edges: ArrayLike<number>;
  /** The epoch whose output was asked about. */
  readonly at: number;
}

export class TestScores {
  readonly epochs: Numbers;
  readonly train: Numbers;
  readonly position: Numbers;
  readonly count: number;
  #score: Numbers;
  #scale: Numbers;
  #top: Numbers;
  #counts: Numbers;
  #cut: Numbers;
  #floor: Numbers | null;
  #k: number;
  #bins: number;
  #none: number;
  #blocks: Blocks;

  constructor(blocks: Blocks, epochs: Numbers) {
    this.#blocks = blocks;
    this.epochs = epochs;
    this.train = blocks.numbers("train");
    this.position = blocks.numbers("position");
    this.count = this.train.length;
    this.#score = blocks.numbers("score");
    this.#scale = blocks.numbers("scale");
    const top = blocks.grid("top");
    this.#top = top.values;
    this.#k = top.shape[2] ?? 0;
    this.#none = top.values instanceof Uint8Array ? 255 : 65535;
    const counts = blocks.grid("counts");
    this.#counts = counts.values;
    this.#bins = counts.shape[1] ?? 0;
    this.#cut = blocks.numbers("cut");
    this.#floor = blocks.maybe("floor");
  }

  /** Score of a column at an epoch; NaN where it is not recorded. */
  score(epoch: number, column: number): number {
    return this.#score[column * this.epochs.length + epoch]! * this.#scale[epoch]!;
  }
  /** A column's score at an epoch as a share of the largest there, -1 to 1: the length of its bar. */
  share(epoch: number, column: number): number {
    return this.#score[column * this.epochs.length + epoch]!;
  }
  /** The largest size of a score at an epoch, over all training examples. */
  scale(epoch: number): number {
    return this.#scale[epoch] ?? NaN;
  }
  /** How far scores that are only noise would reach at an epoch, as a share of the largest; NaN unknown. */
  floor(epoch: number): number {
    return this.#floor?.[epoch] ?? NaN;
  }
  get largest(): number {
    return Math.max(0, ...Array.from(this.#scale).filter(Number.isFinite));
  }

  /** Columns of the training examples that helped (0) or hurt (1) most, strongest first. */
  top(epoch: number, side: 0 | 1): number[] {
    const start = (epoch * 2 + side) * this.#k;
    return Array.from(this.#top.subarray(start, start + this.#k)).filter(
      (column) => column !== this.#none,
    );
  }

  /** When in training a column's influence was laid down; null where that is not recorded. */
  exposure(column: number): Exposure | null {
    if (!this.#blocks.has("exposure/share")) return null;
    const { values, shape } = this.#blocks.grid("exposure/share"),
      windows = shape[1] ?? 0,
      own = values.subarray(column * windows, (column + 1) * windows);
    return {
      shares: Float32Array.from(own, (value) => value / 127),
      edges: this.#blocks.numbers("exposure/edge"),
      at: this.#blocks.numbers("exposure/at")[0] ?? NaN,
    };
  }

  /** How many a side are known at most. */
  get most(): number {
    return this.#k;
  }

  histogram(epoch: number): Histogram {
    return { counts: this.#counts, start: epoch * this.#bins, bins: this.#bins };
  }

  /**
   * Index of the epoch since which a column has mattered up to `epoch`: on the same side of zero and
   * beyond the outermost 5 % of that side, without a break. -1 where it does not matter at `epoch`.
   */
  onset(epoch: number, column: number): number {
    const sign = Math.sign(this.score(epoch, column));
    let i = epoch;
    while (i >= 0 && this.#matters(i, column, sign)) i--;
    return i === epoch ? -1 : i + 1;
  }

  #matters(epoch: number, column: number, sign: number): boolean {
    const score = this.score(epoch, column);
    if (!Number.isFinite(score) || Math.sign(score) !== sign || !sign) return false;
    const cut = this.#cut[epoch * 2 + (sign > 0 ? 0 : 1)]! * this.#scale[epoch]!;
    // a float16 step of grace: both were rounded on the way
    return sign > 0 ? score >= cut * (cut > 0 ? 0.999 : 1) : score <= cut * (cut < 0 ? 0.999 : 1);
  }
}
