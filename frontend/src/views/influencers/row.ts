// One influential training example: its rank and name, its bar from the common zero, its course.
import type { Face } from "../../data/examples";
import type { TestScores } from "../../data/scores";
import type { Method } from "../../data/sent";
import { el, put, say } from "../../ui/dom";
import { FaceBox, nameOf } from "../../ui/face";
import { clipped, count, moment, rankName } from "../../ui/format";
import { scoreWords, share } from "../../ui/unit";
import { chipsOf, isNamedByLabel } from "./chips";
import { exposureWords, Sparkline } from "./sparkline";

/** What the rows of a list have in common at a moment. */
export interface Moment {
  readonly epoch: number;
  readonly when: number;
  /** The score a full bar stands for. */
  readonly scale: number;
  /** The size up to which noise alone would reach; NaN unknown. */
  readonly floor: number;
  readonly total: number;
  readonly method: Method | null;
  readonly side: string;
  /** What the epochs of the run count. */
  readonly unit: string;
}

export class InfluencerRow {
  readonly element: HTMLElement;
  #face = new FaceBox();
  #rank = el("span", { class: "dg-rank", "aria-hidden": "true" });
  #bar = el("i");
  #barBox: HTMLElement;
  #since = el("span", { class: "dg-small dg-since" });
  #chips = el("span", { class: "dg-tags" });
  #spark = new Sparkline();
  #filled: unknown[] = [];
  #shown: Face | null = null;
  #laid: { scores: TestScores; column: number; words: string } | null = null;

  constructor() {
    this.#barBox = el("div", { class: "dg-bar", "aria-hidden": "true" }, this.#bar);
    this.element = el(
      "div",
      { class: "dg-influencer", "data-testid": "dg-influencer" },
      this.#rank,
      el("div", { class: "dg-who" }, this.#face.picture, this.#face.text, this.#chips),
      this.#barBox,
      this.#spark.element,
      this.#since,
    );
  }

  /** What does not change with the epoch. */
  fill(
    scores: TestScores,
    column: number,
    face: Face | null,
    test: Face | null,
    first: number,
    last: number,
    raw: boolean,
  ): void {
    const now = [scores, column, face, test, raw];
    if (now.every((value, i) => value === this.#filled[i])) return;
    this.#filled = now;
    this.#shown = face;
    this.#face.fill(face);
    put(this.element, { "data-id": scores.train[column]!, "data-face": this.#face.kind });
    const chips = chipsOf(test, face);
    this.#chips.replaceChildren(
      ...chips.map(({ text, kind, about }) =>
        el("span", { class: `dg-tag dg-tag-${kind}`, title: about ?? text }, text),
      ),
    );
    const named = face && test && isNamedByLabel(face);
    put(this.element, {
      "data-label": named ? (face.labelCode === test.labelCode ? "same" : "other") : null,
    });
    this.#spark.fill(scores, column, first, last, raw);
  }

  at(scores: TestScores, column: number, rank: number, now: Moment): void {
    const { epoch, scale, floor } = now,
      score = scores.score(epoch, column),
      onset = scores.onset(epoch, column),
      size = Math.abs(score);
    const part =
      scale > 0 && Number.isFinite(score) ? Math.max(0.012, Math.min(1, size / scale)) : 0;
    this.#bar.style.transform = `scaleX(${part})`;
    // no further from zero than the largest of as many noisy scores would be
    const noise = size < floor;
    put(this.#barBox, { "data-noise": noise || null });
    say(this.#rank, String(rank + 1));
    say(
      this.#since,
      onset < 0 ? "" : onset === 0 ? "always" : `since ${moment(scores.epochs[onset]!)}`,
    );
    const place = `${rankName(rank + 1)} of ${count(now.total)}, ${now.side.toLowerCase()}`,
      name = this.#shown ? clipped(nameOf(this.#shown), 80) : `#${scores.train[column]!}`;
    const figures = [
      `${share(score / (scores.scale(epoch) || 1))} of the largest score`,
      scoreWords(score, now.method),
      onset < 0
        ? ""
        : `among the outermost 5 % on this side ${onset ? `since ${moment(scores.epochs[onset]!)}` : "from the start"}, without a break`,
      noise ? "within the reach of noise" : "",
      this.#laidDown(scores, column, now.unit),
    ].filter(Boolean);
    put(this.element, {
      "aria-label": `${place}: ${name}, ${[...this.#chips.children].map((chip) => chip.textContent).join(", ")}${noise ? ", within the reach of noise" : ""}`,
      title: `${place}\n${figures.join("\n")}`,
    });
    this.#spark.mark(now.when);
  }

  /** When its influence was laid down, in words; "" where that is not recorded. */
  #laidDown(scores: TestScores, column: number, unit: string): string {
    if (this.#laid?.scores !== scores || this.#laid.column !== column) {
      const exposure = scores.exposure(column);
      this.#laid = { scores, column, words: exposure ? exposureWords(exposure, unit) : "" };
    }
    return this.#laid.words;
  }
}
