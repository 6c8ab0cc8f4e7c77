// The line of a retraining under way: how far it is, how long it takes, pause and cancel.
import type { Job } from "../../data/asking";
import { el, say } from "../../ui/dom";
import type { Context } from "../../view";
import { leftWords } from "./which";

export class JobLine {
  readonly element: HTMLElement;
  #bar = el("progress", { max: 1, value: 0, "aria-label": "Retraining" });
  #words = el("span");
  #pause = act("Pause", "dg-job-pause");
  #cancel = act("Cancel", "dg-job-cancel");

  constructor({ asking, signal, guard }: Context) {
    this.element = el(
      "div",
      { class: "dg-whatif-job", hidden: true, "data-testid": "dg-job" },
      this.#bar,
      this.#words,
      this.#pause,
      this.#cancel,
    );
    this.#pause.addEventListener(
      "click",
      guard(() => asking.act(asking.job.state === "paused" ? "resume" : "pause")),
      { signal },
    );
    this.#cancel.addEventListener(
      "click",
      guard(() => asking.act("cancel")),
      { signal },
    );
  }

  /** `job`: null where none is under way for what is shown. */
  update(job: Job | null): void {
    this.element.hidden = !job;
    if (!job) return;
    const share = job.total ? Math.min(1, job.done / job.total) : 0,
      paused = job.state === "paused",
      left = paused ? "" : leftWords(job.left);
    this.#bar.value = share;
    say(
      this.#words,
      `${paused ? "Paused" : "Training again without them, and without as many at random"}: ${Math.round(share * 100)} %${left && `, ${left}`}`,
    );
    say(this.#pause, paused ? "Go on" : "Pause");
    this.#pause.hidden = job.pauses === false;
  }
}

export function act(text: string, test: string, kind = "dg-act"): HTMLButtonElement {
  return el("button", { type: "button", class: kind, "data-testid": test }, text);
}
