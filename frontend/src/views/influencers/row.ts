// One influential training example: bar, number, course over training, what it shares.
import type { Face } from "../../data/examples";
import type { TestScores } from "../../data/scores";
import { el, put, say } from "../../ui/dom";
import { FaceBox } from "../../ui/face";
import { moment } from "../../ui/format";
import { inUnit, type Unit } from "../../ui/unit";
import { chipsOf } from "./chips";
import { Sparkline } from "./sparkline";

export class InfluencerRow {
  readonly element: HTMLElement;
  #face = new FaceBox();
  #bar: HTMLElement;
  #value: HTMLElement;
  #since: HTMLElement;
  #chips: HTMLElement;
  #spark = new Sparkline();
  #filled: unknown[] = [];

  constructor() {
    this.#bar = el("i");
    this.#value = el("span", { class: "dg-value" });
    this.#since = el("span", { class: "dg-small dg-since" });
    this.#chips = el("span", { class: "dg-tags" });
    this.element = el(
      "div",
      { class: "dg-influencer", "data-testid": "dg-influencer" },
      this.#face.picture,
      el("div", { class: "dg-who" }, this.#face.text, this.#chips),
      el(
        "div",
        { class: "dg-measure" },
        el("div", { class: "dg-bar", "aria-hidden": "true" }, this.#bar),
        this.#spark.element,
      ),
      el("div", { class: "dg-figures" }, this.#value, this.#since),
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
    this.#face.fill(face);
    put(this.element, { "data-id": scores.train[column]!, "data-face": this.#face.kind });
    const chips = chipsOf(test, face);
    this.#chips.replaceChildren(
      ...chips.map(({ text, kind, about }) =>
        el("span", { class: `dg-tag dg-tag-${kind}`, title: about ?? text }, text),
      ),
    );
    this.#chips.title = chips.map(({ text, about }) => about ?? text).join(" · ");
    this.#spark.fill(scores, column, first, last, raw);
  }

  at(
    scores: TestScores,
    column: number,
    epoch: number,
    when: number,
    scale: number,
    unit: Unit,
  ): void {
    const score = scores.score(epoch, column),
      onset = scores.onset(epoch, column);
    this.#bar.style.transform = `scaleX(${scale > 0 && Number.isFinite(score) ? Math.max(0.012, Math.min(1, Math.abs(score) / scale)) : 0})`;
    say(this.#value, inUnit(score, unit));
    this.#value.title = String(score);
    say(
      this.#since,
      onset < 0 ? "" : onset === 0 ? "always" : `since ${moment(scores.epochs[onset]!)}`,
    );
    this.#since.title =
      onset < 0
        ? ""
        : "among the outermost 5 % of all scores on this side, without a break, since then";
    this.#spark.mark(when);
  }
}
