// Where blocks beyond the preview come from: `get(key)` answers with a container.
// Keys are paths such as "scores/trak/412"; Python's side of each family is in ../../../serve.py.
// What the preview already holds is answered from it, so a saved page needs no kernel.

import type { Model } from "../model";
import { Blocks } from "./blocks";

interface Waiting {
  promise: Promise<Blocks>;
  resolve(blocks: Blocks): void;
  reject(error: Error): void;
}

/** The kernel is gone or never was, and the page does not hold what was asked for. */
export class NotHere extends Error {}
// what may take the kernel long is asked for when nothing else is waited for
const PATIENT = /^(course|bias|map|properties|dynamics\/train)(\/|$)/;
const GONE = "The kernel that could read it is gone. Run the cell again.";

export class Source {
  #model: Model;
  #preview: Blocks;
  #later: Blocks | null = null;
  #cache = new Map<string, Blocks>();
  #waiting = new Map<string, Waiting>();
  #patient: string[] = [];
  #keep: number;
  #gone = false;

  constructor(model: Model, preview: Blocks, keep = 256) {
    this.#model = model;
    this.#preview = preview;
    this.#keep = keep;
    model.on("msg:custom", this.#receive);
    model.on("change:_more", this.#more);
    this.#more();
  }

  /** What is sent after the board has opened; a saved notebook has it from the start. */
  #more = (): void => {
    const view = this.#model.get("_more") as DataView | undefined;
    this.#later = view?.byteLength ? new Blocks(view) : null;
  };

  /** What is at hand now, without asking anybody. */
  peek(key: string): Blocks | null {
    const known = this.#cache.get(key);
    if (known) {
      this.#cache.delete(key);
      this.#cache.set(key, known);
      return known;
    }
    const held = this.#preview.has(key)
      ? this.#preview
      : this.#later?.has(key)
        ? this.#later
        : null;
    return held && this.#remember(key, held.pack(key));
  }

  has(key: string): boolean {
    return this.#cache.has(key) || this.#preview.has(key) || (this.#later?.has(key) ?? false);
  }

  get(key: string): Promise<Blocks> {
    const known = this.peek(key);
    if (known) return Promise.resolve(known);
    const asked = this.#waiting.get(key);
    if (asked) return asked.promise;
    if (this.#gone) return Promise.reject(new NotHere(GONE));
    if (this.#model.isStatic)
      return Promise.reject(new NotHere("This saved page does not hold it."));
    let resolve!: (blocks: Blocks) => void, reject!: (error: Error) => void;
    const promise = new Promise<Blocks>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    this.#waiting.set(key, { promise, resolve, reject });
    if (PATIENT.test(key)) {
      this.#patient.push(key);
      setTimeout(this.#next);
    } else this.#ask(key);
    return promise;
  }

  #ask(key: string): void {
    this.#model.send({ kind: "get", key });
  }

  #next = (): void => {
    if ([...this.#waiting.keys()].some((key) => !PATIENT.test(key))) return;
    for (const key of this.#patient.splice(0)) if (this.#waiting.has(key)) this.#ask(key);
  };

  /** Nobody will answer any more: those who wait are told, and those who ask from now on. */
  cut(): void {
    this.#gone = true;
    for (const waiting of this.#waiting.values()) waiting.reject(new NotHere(GONE));
    this.#waiting.clear();
  }

  /** Forget a request that nobody waits for any more; a late answer still enters the cache. */
  abandon(key: string): void {
    this.#waiting.delete(key);
  }

  destroy(): void {
    this.#model.off("msg:custom", this.#receive);
    this.#model.off("change:_more", this.#more);
    this.#waiting.clear();
    this.#cache.clear();
  }

  #receive = (message: unknown, buffers?: unknown): void => {
    const { kind, key, error } = message as { kind?: string; key?: string; error?: string };
    if (!key || (kind !== "blocks" && kind !== "refused")) return;
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (this.#patient.length) setTimeout(this.#next); // whoever was told may ask for more first
    if (kind === "refused") {
      waiting?.reject(new Error(error ?? "Python refused without a reason."));
      return;
    }
    try {
      const view = (buffers as DataView[] | undefined)?.[0];
      if (!view) throw new Error(`the answer to ${key} carries no bytes`);
      const blocks = this.#remember(key, new Blocks(view));
      waiting?.resolve(blocks);
    } catch (cause) {
      waiting?.reject(cause as Error);
    }
  };

  #remember(key: string, blocks: Blocks): Blocks {
    this.#cache.set(key, blocks);
    if (this.#cache.size > this.#keep)
      this.#cache.delete(this.#cache.keys().next().value as string);
    return blocks;
  }
}
