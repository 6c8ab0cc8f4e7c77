// What the board was asked (*what if these were gone?*), its answers, and the job under way.
// Python answers through two traits, which a saved notebook and an exported page hold too.
import type { Model } from "../model";

export type Curve = readonly (number | null)[] | null;
/** An answer: `what_if(...).to_dict()` with a name that the same question has again. */
export interface WhatIf {
  readonly id: string;
  readonly train: readonly number[];
  readonly test: number | null;
  readonly epoch: readonly number[];
  readonly now: Curve;
  readonly expected: Curve;
  readonly low: Curve;
  readonly high: Curve;
  readonly random_low: Curve;
  readonly random_high: Curve;
  readonly true: Curve;
  readonly accuracy_now: Curve;
  readonly accuracy_expected: Curve;
  readonly accuracy_low: Curve;
  readonly accuracy_high: Curve;
  readonly accuracy_random_low: Curve;
  readonly accuracy_random_high: Curve;
  readonly accuracy_true: Curve;
  readonly words: readonly string[];
  readonly reason: string | null;
  readonly level: number;
  readonly method: string | null;
  readonly unit: string;
}
export interface Job {
  readonly name: "" | "what_if" | "retrain" | "metasmoothness" | "exact";
  readonly state: "" | "running" | "paused" | "done" | "failed" | "cancelled";
  readonly done: number;
  readonly total: number;
  /** Seconds, or null before that can be said. */
  readonly left: number | null;
  /** Why it failed. */
  readonly words: string;
  /** The answer it is for, by its name. */
  readonly answer: string;
  readonly pauses?: boolean;
  /** Whether retraining may be asked for from here, and if not, why. */
  readonly allowed: boolean;
  readonly why: string;
  readonly line: string;
  /** Whether the board checks itself, and by how many retrainings it is checked. */
  readonly check: boolean;
  readonly checked: number;
}

const NO_JOB: Job = {
  name: "",
  state: "",
  done: 0,
  total: 0,
  left: null,
  words: "",
  answer: "",
  allowed: false,
  why: "",
  line: "",
  check: false,
  checked: 0,
};
const AGAIN_MS = 1500; // between two askings while retrainings arrive

function same(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  const known = new Set(a);
  return b.every((id) => known.has(id));
}

export class Asking {
  /** Why the last question had no answer; "" where it had. */
  trouble = "";
  /** Whether an answer is waited for. */
  pending = false;
  #model: Model;
  #live: () => boolean;
  #open: string | null = null;
  #wanted: { train: readonly number[]; test: number | null } | null = null;
  #checked: number;
  #asked = 0;
  #listeners = new Set<() => void>();

  /** `live`: whether somebody will answer. `test`: whose newest answer is open at the start. */
  constructor(model: Model, live: () => boolean, test: number | null) {
    this.#model = model;
    this.#live = live;
    this.#checked = this.job.checked;
    const newest = this.answers[0];
    if (newest && newest.test === test) this.#open = newest.id;
    model.on("change:_asked", this.#arrived);
    model.on("change:_job", this.#told);
    model.on("msg:custom", this.#refused);
  }

  get answers(): readonly WhatIf[] {
    return (this.#model.get("_asked") as WhatIf[] | undefined) ?? [];
  }
  get job(): Job {
    return { ...NO_JOB, ...((this.#model.get("_job") as Job | undefined) ?? {}) };
  }
  get live(): boolean {
    return this.#live();
  }
  /** The answer on screen. */
  get shown(): WhatIf | null {
    return this.answers.find(({ id }) => id === this.#open) ?? null;
  }
  /** What was asked and cannot be answered here. */
  get unanswered(): { train: readonly number[]; test: number | null } | null {
    return this.pending ? null : this.#wanted;
  }

  find(train: readonly number[], test: number | null): WhatIf | null {
    return this.answers.find((one) => one.test === test && same(one.train, train)) ?? null;
  }

  /** Ask, or open the answer that is there already where nobody could give another. */
  ask(train: readonly number[], test: number | null, method: string | null): void {
    this.trouble = "";
    this.#wanted = { train, test };
    const known = this.find(train, test);
    if (known) this.#open = known.id;
    if (!this.live) {
      if (known) this.#wanted = null;
      else this.#open = null;
      this.pending = false;
    } else {
      this.pending = true;
      this.#asked = performance.now();
      this.#model.send({ kind: "what_if", train, test, method });
    }
    this.#tell();
  }

  show(id: string | null): void {
    this.#open = id;
    this.#wanted = null;
    this.pending = false;
    this.trouble = "";
    const shown = this.shown;
    // more may be known by now than when it was given
    if (shown && this.live) this.ask(shown.train, shown.test, shown.method);
    else this.#tell();
  }

  retrain({ train, test }: WhatIf): void {
    this.trouble = "";
    this.#model.send({ kind: "retrain", train, test });
  }
  act(act: "pause" | "resume" | "cancel"): void {
    this.#model.send({ kind: "job", act });
  }
  check(on: boolean): void {
    this.#model.send({ kind: "check", on });
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }
  destroy(): void {
    this.#model.off("change:_asked", this.#arrived);
    this.#model.off("change:_job", this.#told);
    this.#model.off("msg:custom", this.#refused);
    this.#listeners.clear();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
  #arrived = (): void => {
    const found = this.#wanted && this.find(this.#wanted.train, this.#wanted.test);
    if (found) {
      this.#open = found.id;
      this.#wanted = null;
      this.pending = false;
    }
    this.#tell();
  };
  #told = (): void => {
    const { checked, state } = this.job,
      shown = this.shown;
    // more retrainings narrow what is expected
    if (checked !== this.#checked && shown && this.live && !this.pending) {
      const over = state !== "running";
      if (over || performance.now() - this.#asked > AGAIN_MS) {
        this.#checked = checked;
        this.#asked = performance.now();
        const { train, test, method } = shown;
        this.#model.send({ kind: "what_if", train, test, method });
      }
    } else if (!shown) this.#checked = checked;
    this.#tell();
  };
  #refused = (message: unknown): void => {
    const { kind, error } = message as { kind?: string; error?: string };
    // the same answer as before changes no trait, and is an answer all the same
    if (kind === "what_if_answered") this.#arrived();
    if (kind !== "what_if_refused") return;
    this.trouble = error ?? "Python refused without a reason.";
    this.pending = false;
    this.#wanted = null;
    this.#tell();
  };
}

/** Values of a curve as numbers, NaN where there is none. */
export function numbersOf(curve: Curve): Float64Array {
  return Float64Array.from(curve ?? [], (value) => value ?? NaN);
}
