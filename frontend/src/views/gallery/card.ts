// A test example at a moment: who it is, what the model says, by which margin, since when.
import type { Dynamics } from "../../data/dynamics";
import type { Face } from "../../data/examples";
import { el, put, say } from "../../ui/dom";
import { FaceBox } from "../../ui/face";
import { clipped, moment, nats } from "../../ui/format";
import { icon, turnInto } from "../../ui/icons";

export class Card {
  readonly element: HTMLElement;
  #face = new FaceBox();
  #verdict: HTMLElement;
  #answer: HTMLElement;
  #bar: HTMLElement;
  #margin: HTMLElement;
  #word: HTMLElement;
  #since: HTMLElement;

  constructor() {
    this.#answer = el("bdi", { dir: "auto" });
    this.#verdict = el("span", { class: "dg-verdict" }, icon("right"), this.#answer);
    this.#bar = el("i");
    this.#margin = el("b");
    this.#word = el("span", { class: "dg-word" });
    this.#since = el("span");
    this.element = el(
      "div",
      { class: "dg-card", "data-testid": "dg-test" },
      this.#face.picture,
      el(
        "div",
        { class: "dg-card-body" },
        el("div", { class: "dg-spread" }, this.#face.text, this.#verdict),
        el("div", { class: "dg-margin", "aria-hidden": "true" }, this.#bar),
        el(
          "div",
          { class: "dg-spread dg-small" },
          el(
            "span",
            { title: "margin: log odds of the true label, in nats; above zero the model is right" },
            this.#word,
            this.#margin,
          ),
          this.#since,
        ),
      ),
    );
  }

  fill(
    face: Face | null,
    position: number,
    dynamics: Dynamics | null,
    now: number,
    scale: number,
    classes: readonly string[],
    chosen: boolean,
  ): void {
    this.#face.fill(face);
    put(this.element, {
      "aria-selected": String(chosen),
      "data-id": face?.id ?? null,
      "data-face": this.#face.kind,
    });
    if (!dynamics) {
      this.#verdict.hidden = true;
      this.#bar.hidden = true;
      say(this.#word, "");
      say(this.#margin, face ? clipped(face.label, 40) : "");
      say(this.#since, "");
      return;
    }
    const right = dynamics.correct(now, position),
      code = dynamics.prediction(now, position),
      margin = dynamics.margin(now, position);
    const said = code >= 0 ? (classes[code] ?? "") : "";
    this.#verdict.hidden = false;
    this.#verdict.className = `dg-verdict ${right ? "dg-right" : "dg-wrong"}`;
    turnInto(this.#verdict, right ? "right" : "wrong");
    say(this.#answer, said ? clipped(said, 40) : right ? "right" : "wrong");
    this.#answer.title = said
      ? `predicts ${clipped(said, 600)}; true label ${clipped(face?.label ?? "", 600)}`
      : "";
    const known = Number.isFinite(margin);
    this.#bar.hidden = !known;
    const share = known ? Math.max(-1, Math.min(1, margin / scale)) * 50 : 0;
    this.#bar.style.left = `${share < 0 ? 50 + share : 50}%`;
    this.#bar.style.width = `${Math.max(1, Math.abs(share))}%`;
    this.#bar.className = right ? "dg-right" : "dg-wrong";
    say(this.#word, "margin ");
    say(this.#margin, known ? nats(margin) : "–");
    this.#margin.title = known ? "" : "not recorded";
    say(this.#since, history(dynamics, now, position, right));
  }
}

function history(dynamics: Dynamics, now: number, position: number, right: boolean): string {
  const since = dynamics.since(now, position);
  const when = moment(dynamics.epochs[since] ?? 0);
  if (right) return since === 0 ? "always right" : `right since ${when}`;
  return since === 0 ? "not learned" : `wrong since ${when}`;
}
