// What if these were gone? A question about training examples, its answer under the timeline, the truth
// by retraining where that is allowed, and the answers that were given before.

import type { WhatIf } from "../../data/asking";
import { indexNearest } from "../../data/epochs";
import { testOf } from "../../state/selection";
import { ADVICE } from "../../ui/advice";
import { iconButton } from "../../ui/controls";
import { el, put, say } from "../../ui/dom";
import { nameOf } from "../../ui/face";
import { clipped, plural } from "../../ui/format";
import { wordsFor } from "../../ui/words";
import type { Context, State } from "../../view";
import type { Scale } from "../timeline/axis";
import { act, JobLine } from "./job";
import { Legend } from "./legend";
import { WhatIfPlot } from "./plot";
import { type Choice, choicesOf, firstOf, idList } from "./which";

export class WhatIfPanel {
  /** The question; stands beside the player. */
  readonly bar: HTMLElement;
  /** The answer; stands under the curves. */
  readonly element: HTMLElement;
  #context: Context;
  #changed: () => void;
  #which: HTMLSelectElement;
  #ask: HTMLButtonElement;
  #why = el("span", { class: "dg-small dg-muted", hidden: true, "data-testid": "dg-whatif-why" });
  #past: HTMLSelectElement;
  #title = el("b", { class: "dg-clip" });
  #retrain: HTMLButtonElement;
  #close: HTMLButtonElement;
  #select: HTMLButtonElement;
  #plot = new WhatIfPlot();
  #figure: HTMLElement;
  #words = el("p", { class: "dg-whatif-words", "data-testid": "dg-whatif-words" });
  #code = el("code", { class: "dg-whatif-code", "data-testid": "dg-whatif-code", tabindex: 0 });
  #how = el("p", { class: "dg-whatif-how" });
  #job: JobLine;
  #legend = new Legend();
  #choices: readonly Choice[] = [];
  #chosen = ""; // by the user; "" follows what is likeliest
  #options = "";
  #drawn: WhatIf | null = null;
  #announced = "";
  #lastTest: number | null = null;

  /** `changed`: the timeline draws another answer's accuracy, or none. */
  constructor(context: Context, changed: () => void) {
    this.#context = context;
    this.#changed = changed;
    const { signal, guard, asking, store, redraw } = context;
    const on = (element: Element, then: () => void, event = "click"): void =>
      element.addEventListener(event, guard(then), { signal });
    this.#which = el("select", {
      class: "dg-menu dg-which",
      "aria-label": "Training examples to ask about",
      "data-testid": "dg-which",
    });
    this.#ask = act("What if", "dg-whatif-ask", "dg-act dg-main-act");
    this.#ask.append(el("span", { class: "dg-whatif-rest" }, " these were gone"), "?");
    put(this.#ask, { "aria-label": "What if these were gone?" });
    this.#past = el("select", {
      class: "dg-menu dg-past",
      "aria-label": "Answers given before",
      "data-testid": "dg-past",
    });
    this.#retrain = act("Retrain to see", "dg-retrain", "dg-act dg-main-act");
    this.#close = iconButton("wrong", "Close the answer", "dg-whatif-close");
    this.#select = act("Select them", "dg-whatif-select");
    this.#job = new JobLine(context);
    this.#figure = el(
      "div",
      { class: "dg-whatif-figure" },
      this.#legend.element,
      this.#plot.element,
    );
    this.element = el(
      "div",
      { class: "dg-whatif", hidden: true, "data-testid": "dg-whatif-answer" },
      el("div", { class: "dg-whatif-head" }, this.#title, this.#retrain, this.#select, this.#close),
      this.#figure,
      this.#job.element,
      this.#words,
      this.#how,
      this.#code,
    );
    this.bar = el(
      "div",
      { class: "dg-whatif-bar", role: "group", "aria-label": "What if examples were gone?" },
      this.#which,
      this.#ask,
      this.#why,
      this.#past,
    );
    on(
      this.#which,
      () => {
        this.#chosen = this.#which.value;
        redraw();
      },
      "change",
    );
    on(this.#ask, () => {
      const choice = this.#choice();
      const { test, method } = store.value;
      if (choice) asking.ask(choice.ids, test, method);
    });
    on(
      this.#past,
      () => {
        const id = this.#past.value;
        this.#past.value = "";
        const answer = asking.answers.find((one) => one.id === id);
        if (!answer) return;
        asking.show(id);
        if (answer.test !== null) store.set({ test: answer.test });
      },
      "change",
    );
    on(this.#retrain, () => {
      if (asking.shown) asking.retrain(asking.shown);
    });
    on(this.#close, () => {
      asking.show(null);
      this.#ask.focus();
    });
    on(this.#select, () => {
      if (asking.shown) store.set({ selected: [...asking.shown.train].sort((a, b) => a - b) });
    });
    const stop = asking.listen(redraw);
    signal.addEventListener("abort", stop);
    this.#lastTest = store.value.test;
  }

  /** The answer whose accuracy the timeline draws. */
  get answer(): WhatIf | null {
    return this.#drawn;
  }

  /** The moments at which its method has scores, where alone something can be expected. */
  get scored(): ArrayLike<number> {
    const method = this.#drawn?.method;
    return method ? this.#context.record.scoreEpochs(method) : [];
  }

  layout(x: Scale, width: number): void {
    this.#plot.layout(x, width);
  }

  update({ selection, moving }: State): void {
    const { record, asking } = this.#context,
      { test } = selection;
    this.bar.hidden =
      !record.attrs.methods.length && !asking.answers.length && !selection.selected.length;
    if (!moving) this.#follow(test, selection.method);
    const shown = asking.shown;
    if (!moving) this.#fill(selection);
    if (shown !== this.#drawn) {
      this.#drawn = shown;
      this.#plot.set(shown, this.scored);
      this.#changed();
    }
    this.#plot.update(selection.epoch);
    if (shown) this.#legend.update(shown, selection.epoch, this.scored);
    if (!moving) this.#state(shown);
  }

  /** An open answer goes along with the selected test example. */
  #follow(test: number | null, method: string | null): void {
    const { asking } = this.#context,
      shown = asking.shown;
    if (test === this.#lastTest) return;
    this.#lastTest = test;
    if (!shown || shown.test === test) return;
    const known = asking.find(shown.train, test);
    if (asking.live) asking.ask(shown.train, test, method);
    else if (known) asking.show(known.id);
  }

  #choice(): Choice | null {
    return this.#choices.find((one) => one.value === this.#chosen) ?? firstOf(this.#choices);
  }

  #fill(selection: State["selection"]): void {
    const { record, asking } = this.#context;
    const method = record.method(selection.method),
      test = testOf(selection),
      scores = method && test !== null ? record.scoresNow(method.id, test) : null;
    const epoch = scores?.epochs.length ? indexNearest(scores.epochs, selection.epoch) : 0;
    const words = wordsFor(record.light(selection.epoch, method?.id ?? null));
    this.#choices = choicesOf(selection, scores?.epochs.length ? scores : null, epoch, words);
    // what was just selected is what one wants to ask about
    if (!this.#choices.some((one) => one.value === this.#chosen)) this.#chosen = "";
    const options = this.#choices.map(({ value, text }) => `${value} ${text}`).join("\n");
    if (options !== this.#options) {
      if (!this.#options.startsWith("selected") && options.startsWith("selected"))
        this.#chosen = "selected";
      this.#options = options;
      this.#which.replaceChildren(
        ...this.#choices.map(({ value, text }) => el("option", { value }, text)),
      );
    }
    const choice = this.#choice();
    if (choice) this.#which.value = choice.value;
    this.#which.disabled = this.#ask.disabled = !choice || test === null;
    const question = record.question(selection.query);
    this.#which.hidden = this.#ask.hidden = question !== null;
    this.#why.hidden = question === null;
    say(
      this.#why,
      question ? `What if asks about a test example, not about ${clipped(question.id, 60)}` : "",
    );
    const past = asking.answers;
    this.#past.hidden = !past.length;
    const listed = past.map((one) => ({ value: one.id, text: this.#pastName(one) }));
    const key = listed.map(({ value, text }) => value + text).join("\n");
    if (this.#past.dataset.key !== key) {
      this.#past.dataset.key = key;
      this.#past.replaceChildren(
        el("option", { value: "" }, `${plural(past.length, "answer")} so far`),
        ...listed.map(({ value, text }) => el("option", { value }, text)),
      );
    }
  }

  #pastName(one: WhatIf): string {
    return `${one.true ? "retrained: " : ""}without ${plural(one.train.length, "example")}, ${this.#testName(one.test)}`;
  }
  #testName(test: number | null): string {
    if (test === null) return "all test examples";
    const face = this.#context.record.examples.test.byId(test);
    return face ? clipped(nameOf(face), 40) : `#${test}`;
  }

  /** Which examples an answer is about, by name where they are at hand. */
  #removed({ train }: WhatIf): string {
    const { examples } = this.#context.record,
      names = train.slice(0, 24).map((id) => {
        const face = examples.train.byId(id);
        return face ? clipped(nameOf(face), 60) : `#${id}`;
      });
    return `Without ${names.join(", ")}${train.length > names.length ? " …" : ""}`;
  }

  #state(shown: WhatIf | null): void {
    const { asking, isStatic, announce } = this.#context,
      { job, unanswered, pending, trouble } = asking;
    const open = shown !== null || pending || trouble !== "" || unanswered !== null;
    this.element.hidden = !open;
    put(this.#ask, { "aria-expanded": String(open) });
    put(this.bar, { "data-open": open || null });
    put(this.element, { "data-pending": pending || null });
    this.#figure.hidden = !shown;
    if (!open) return;
    say(
      this.#title,
      shown
        ? `Without ${plural(shown.train.length, "example")}: margin of ${this.#testName(shown.test)}${shown.unit ? `, in ${shown.unit}` : ""}`
        : pending
          ? "Asking …"
          : "What if these were gone?",
    );
    this.#select.hidden = !shown;
    this.#title.title = shown ? this.#removed(shown) : "";
    put(this.#plot.element, {
      "aria-label": shown ? `${this.#title.textContent}. ${shown.words.join(" ")}` : null,
    });
    const mine = shown !== null && job.answer === shown.id && job.name === "what_if",
      busy = mine && (job.state === "running" || job.state === "paused");
    this.#retrain.hidden = !shown || shown.true !== null || busy || !job.allowed || !asking.live;
    this.#job.update(busy ? job : null);
    const words = trouble ? [trouble] : shown ? [...shown.words] : [];
    if (mine && job.state === "failed") words.push(job.words);
    say(this.#words, words.filter(Boolean).join(" "));
    put(this.#words, { "data-wrong": trouble !== "" || (mine && job.state === "failed") || null });
    // without a kernel, or without leave, the line to write
    const question = shown && !shown.true && !busy && !this.#retrain.hidden ? null : unanswered;
    const asked = shown && shown.true === null && (!job.allowed || !asking.live) ? shown : question;
    this.#how.hidden = this.#code.hidden = !asked || busy;
    if (asked) {
      const call = ADVICE.whatIf
        .replace("train=ids", `train=${idList(asked.train)}`)
        .replace("test=id", `test=${asked.test ?? "None"}`);
      const reopen = asking.live && shown !== null;
      say(
        this.#how,
        reopen
          ? `To train again from here: ${job.why || "no training was given."} Open it with`
          : `${isStatic ? "This page has no kernel" : "No kernel answers here"}, so it shows the answers it was saved with. In a notebook write`,
      );
      say(
        this.#code,
        reopen ? job.line || ADVICE.allow : shown ? `${call}.retrain(training)` : call,
      );
    }
    const news = shown ? `${shown.id} ${shown.true !== null}` : "";
    if (shown && news !== this.#announced)
      announce(`${this.#title.textContent}. ${words.join(" ")}`);
    this.#announced = news;
  }
}
