// For the selected test example at this moment: the training examples that helped and hurt most.
import { indexNearest } from "../../data/epochs";
import type { Light } from "../../data/record";
import type { TestScores } from "../../data/scores";
import { NotHere } from "../../data/source";
import { ADVICE } from "../../ui/advice";
import { el, put, say } from "../../ui/dom";
import { nameOf } from "../../ui/face";
import { clipped, moment } from "../../ui/format";
import { icon, turnInto } from "../../ui/icons";
import { wordsFor } from "../../ui/words";
import type { Context, State, View, ViewKind } from "../../view";
import { Column, ROW } from "./column";
import { Distribution } from "./distribution";
import { Removal } from "./removal";

const ROWS = 10, // a side, at most
  HEADING = 25;

class Influencers implements View {
  #context: Context;
  #on = el("span");
  #title: HTMLElement;
  #where: HTMLElement;
  #caution: HTMLElement;
  #removal: Removal;
  #light: HTMLElement;
  #fixed: HTMLButtonElement;
  #mark: HTMLButtonElement;
  #body: HTMLElement;
  #message: HTMLElement;
  #helped: Column;
  #hurt: Column;
  #spread = new Distribution();
  #scores: TestScores | null = null;
  #key = ""; // what is wanted
  #held = ""; // what #scores are of; until both agree the old ones are shown dimmed
  #trouble = "";
  #waiting: ReturnType<typeof setTimeout> | undefined;
  #slow = false;
  #wholeRun = false;
  #height = 0;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { signal, guard, redraw } = context;
    this.#title = el("bdi", { class: "dg-clip", dir: "auto" });
    this.#where = el("span", { class: "dg-muted dg-clip" });
    this.#light = el(
      "span",
      { class: "dg-light dg-spot", role: "img", "data-testid": "dg-panel-light" },
      icon("grey"),
    );
    this.#fixed = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        "aria-pressed": "false",
        title: "Scale bars and curves to the run's largest score, as recorded: TRAK's carry 1 - p",
        "data-testid": "dg-fixed",
      },
      "fixed scale",
    );
    this.#fixed.addEventListener(
      "click",
      guard(() => {
        this.#wholeRun = !this.#wholeRun;
        put(this.#fixed, { "aria-pressed": String(this.#wholeRun) });
        redraw();
      }),
      { signal },
    );
    this.#mark = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        "aria-pressed": "false",
        title:
          "Mark several examples by clicking them, to ask what if these were gone (or Shift-click)",
        "data-testid": "dg-mark",
      },
      "mark",
    );
    this.#mark.addEventListener(
      "click",
      guard(() => {
        const on = !this.#helped.marking;
        this.#helped.marking = this.#hurt.marking = on;
        put(this.#mark, { "aria-pressed": String(on) });
        redraw();
      }),
      { signal },
    );
    this.#helped = new Column(context, 0);
    this.#hurt = new Column(context, 1);
    this.#body = el("div", { class: "dg-columns" }, this.#helped.element, this.#hurt.element);
    this.#message = el("div", {
      class: "dg-empty dg-designed",
      hidden: true,
      "data-testid": "dg-no-scores",
    });
    this.#caution = el("p", { class: "dg-caution", hidden: true, "data-testid": "dg-caution" });
    this.#removal = new Removal(context);
    slot.append(
      el(
        "div",
        { class: "dg-h2" },
        el("span", { class: "dg-clip", role: "heading", "aria-level": 3 }, this.#on, this.#title),
        this.#light,
        this.#where,
        el("span", { class: "dg-push" }),
        this.#mark,
        this.#fixed,
      ),
      this.#caution,
      this.#body,
      this.#spread.element,
      this.#removal.element,
      this.#message,
    );
    context.onSize(this.#body, (_, height) => {
      this.#height = height;
      redraw();
    });
    context.onSize(this.#spread.element, (width) => {
      this.#spread.size(width);
      redraw();
    });
  }

  update(state: State): void {
    const { record } = this.#context,
      { selection } = state;
    const question = record.question(selection.query),
      wanted = record.method(selection.method),
      method = question ? record.answering(question, wanted) : wanted,
      test = question ? null : record.examples.test.byId(selection.test);
    const light = record.light(selection.epoch, method?.id ?? null),
      words = wordsFor(light);
    const nothing = selection.test === null && !question;
    say(this.#on, nothing ? "Influence" : words.on);
    const name = question ? question.id : test ? nameOf(test) : `#${selection.test}`;
    say(this.#title, nothing ? "" : clipped(name, 90));
    this.#title.title = question ? clipped(question.about, 2000) : test ? clipped(name, 2000) : "";
    if (!method) {
      this.#empty(
        "No attribution scores yet",
        "This run records how it learned, not which examples taught it. Add scores, then refresh the board:",
        ADVICE.scores,
      );
      return;
    }
    if (nothing) {
      this.#empty(
        "No test example selected",
        "Choose one on the left to see the training examples that matter to it.",
      );
      return;
    }
    if (question)
      this.#want(
        `${question.id}/${method.id}`,
        () => record.answersNow(question, method.id),
        () => record.answers(question, method.id),
      );
    else
      this.#want(
        `${method.id}/${selection.test}`,
        () => record.scoresNow(method.id, selection.test!),
        () => record.scores(method.id, selection.test!),
      );
    const scores = this.#scores;
    if (this.#trouble) {
      this.#empty("No scores to show", this.#trouble);
      return;
    }
    if (this.#held !== this.#key && scores) {
      put(this.#body, { "data-stale": true });
      return;
    }
    if (!scores) {
      if (this.#slow)
        this.#empty("Reading scores …", "Waiting for the kernel, which may be busy with a cell.");
      put(this.#body, { "data-stale": true });
      return;
    }
    if (!scores.epochs.length) {
      this.#empty(
        "No scores at any epoch",
        "The method is in the record, but no epoch has been scored yet.",
      );
      return;
    }
    const epoch = indexNearest(scores.epochs, selection.epoch),
      at = scores.epochs[epoch]!,
      scale = scores.scale(epoch);
    const shown = record.epochs[indexNearest(record.epochs, selection.epoch)] ?? at;
    say(
      this.#where,
      `at ${record.unit} ${moment(at)}${at === shown ? "" : ", the nearest with scores"}${method === wanted ? "" : `, by ${method.label}`}`,
    );
    if (!Number.isFinite(scale)) {
      this.#empty(
        "Scores here are not numbers",
        `At ${record.unit} ${moment(at)} the record holds NaN or infinity for what is selected. Other epochs may be fine.`,
      );
      return;
    }
    this.#show(true);
    put(this.#light, {
      "data-level": light.level,
      "aria-label": light.text,
      title: `${light.text}. ${light.detail}`,
    });
    turnInto(this.#light, light.level);
    put(this.#body, { "data-stale": null, "data-moving": state.moving || null });
    const red = light.level === "red";
    say(this.#caution, belief(light));
    put(this.#caution, {
      "data-level": light.level,
      title: `${light.detail}${red ? " They describe the model at this moment; they do not explain it." : ""}`,
    });
    this.#helped.call(words);
    this.#hurt.call(words);
    const each = Math.max(ROW, Math.floor(this.#height / 2) - HEADING),
      bars = this.#wholeRun ? scores.largest : scale,
      layout = {
        rows: Math.min(Math.floor(each / ROW), scores.most, ROWS),
        height: each,
        raw: this.#wholeRun,
      };
    const now = {
      epoch,
      when: selection.epoch,
      scale: bars,
      floor: scores.floor(epoch) * scale,
      total: record.attrs.count.train,
      method,
      unit: record.unit,
    };
    const floor = Math.min(1, now.floor / bars);
    this.#body.style.setProperty("--dg-floor", Number.isFinite(floor) ? String(floor) : "0");
    const { train, selected } = selection;
    const helped = this.#helped.update(scores, now, test, train, selected, layout),
      hurt = this.#hurt.update(scores, now, test, train, selected, layout);
    const chosen = selection.hovered?.split === "train" ? selection.hovered.id : selection.train;
    this.#spread.update(scores, epoch, helped, hurt, chosen, record.attrs.count.train, words);
    if (question) this.#removal.element.hidden = true;
    else this.#removal.update(method.id, selection.test!, selection.epoch);
    this.#faces(scores, [...helped, ...hurt]);
  }

  #faces(scores: TestScores, columns: readonly number[]): void {
    const { record, redraw, report } = this.#context,
      train = record.examples.train;
    const missing = columns
      .map((column) => scores.position[column]!)
      .filter((position) => !train.face(position));
    if (missing.length) train.load(missing).then(redraw, report);
  }

  /** Have the scores of a test example or a question, from the page, the cache or the kernel. */
  #want(key: string, now: () => TestScores | null, later: () => Promise<TestScores>): void {
    if (key === this.#key) return;
    this.#key = key;
    this.#trouble = "";
    this.#slow = false;
    clearTimeout(this.#waiting);
    const { redraw } = this.#context;
    const here = now();
    if (here) {
      this.#scores = here;
      this.#held = key;
      return;
    }
    this.#waiting = setTimeout(() => {
      this.#slow = true;
      this.#scores = null;
      redraw();
    }, 600);
    later().then(
      (scores) => {
        if (key === this.#key) {
          this.#scores = scores;
          this.#held = key;
          clearTimeout(this.#waiting);
          redraw();
        }
      },
      (error: Error) => {
        if (key !== this.#key) return;
        clearTimeout(this.#waiting);
        this.#scores = null;
        this.#trouble =
          error instanceof NotHere && this.#context.isStatic
            ? "This page was saved without these scores."
            : error.message;
        redraw();
      },
    );
  }

  #show(scores: boolean): void {
    this.#body.hidden =
      this.#spread.element.hidden =
      this.#removal.element.hidden =
      this.#fixed.hidden =
      this.#mark.hidden =
      this.#light.hidden =
        !scores;
    this.#message.hidden = scores;
    this.#caution.hidden = !scores;
  }

  #empty(title: string, text: string, code?: string): void {
    this.#show(false);
    if (this.#message.dataset.said === title + text) return;
    this.#message.dataset.said = title + text;
    this.#message.replaceChildren(
      icon("grey"),
      el("b", {}, title),
      el("p", {}, text),
      ...(code ? [el("code", {}, code)] : []),
    );
    say(this.#where, "");
  }

  destroy(): void {
    clearTimeout(this.#waiting);
    this.#removal.destroy();
  }
}

/** What may be believed of the scores on screen, in one sentence. */
function belief({ level, text }: Light): string {
  if (level === "red") return "Checked: these do not predict what removing examples would do.";
  if (level === "grey")
    return "Not checked by retraining: take the order as a lead to follow, not as a finding.";
  return text;
}

export const influencers: ViewKind = {
  name: "influencers",
  title: "Influence",
  slot: "middle",
  has: () => true,
  make: (context, slot) => new Influencers(context, slot),
};
