// Where blocks beyond the preview come from: `get(key)` answers with a container.
// Keys are paths such as "scores/trak/412"; Python's side of each family is in ../../../serve.py.
// What the preview already holds is answered from it, so a saved page needs no kernel.
import { Blocks } from "./blocks";
import type { Model } from "../model";

interface Waiting { promise: Promise<Blocks>; resolve(blocks: Blocks): void; reject(error: Error): void }

/** The kernel is gone or never was, and the page does not hold what was asked for. */
export class NotHere extends Error {}
const GONE = "The kernel that could read it is gone. Run the cell again.";

export class Source {
  #model: Model;
  #preview: Blocks;
  #cache = new Map<string, Blocks>();
  #waiting = new Map<string, Waiting>();
  #keep: number;
  #gone = false;

  constructor(model: Model, preview: Blocks, keep = 256) {
    this.#model = model; this.#preview = preview; this.#keep = keep;
    model.on("msg:custom", this.#receive);
  }

  /** What is at hand now, without asking anybody. */
  peek(key: string): Blocks | null {
    const known = this.#cache.get(key);
    if (known) { this.#cache.delete(key); this.#cache.set(key, known); return known; }
    if (!this.#preview.has(key)) return null;
    return this.#remember(key, this.#preview.pack(key));
  }

  has(key: string): boolean { return this.#cache.has(key) || this.#preview.has(key); }

  get(key: string): Promise<Blocks> {
    const known = this.peek(key);
    if (known) return Promise.resolve(known);
    const asked = this.#waiting.get(key);
    if (asked) return asked.promise;
    if (this.#gone) return Promise.reject(new NotHere(GONE));
    if (this.#model.isStatic) return Promise.reject(new NotHere("This saved page does not hold it."));
    let resolve!: (blocks: Blocks) => void, reject!: (error: Error) => void;
    const promise = new Promise<Blocks>((yes, no) => { resolve = yes; reject = no; });
    this.#waiting.set(key, { promise, resolve, reject });
    this.#model.send({ kind: "get", key });
    return promise;
  }

  /** Nobody will answer any more: those who wait are told, and those who ask from now on. */
  cut(): void {
    this.#gone = true;
    for (const waiting of this.#waiting.values()) waiting.reject(new NotHere(GONE));
    this.#waiting.clear();
  }

  /** Forget a request that nobody waits for any more; a late answer still enters the cache. */
  abandon(key: string): void { this.#waiting.delete(key); }

  destroy(): void {
    this.#model.off("msg:custom", this.#receive);
    this.#waiting.clear(); this.#cache.clear();
  }

  #receive = (message: unknown, buffers?: unknown): void => {
    const { kind, key, error } = message as { kind?: string; key?: string; error?: string };
    if (!key || (kind !== "blocks" && kind !== "refused")) return;
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (kind === "refused") { waiting?.reject(new Error(error ?? "Python refused without a reason.")); return; }
    try {
      const view = (buffers as DataView[] | undefined)?.[0];
      if (!view) throw new Error(`the answer to ${key} carries no bytes`);
      const blocks = this.#remember(key, new Blocks(view));
      waiting?.resolve(blocks);
    } catch (cause) { waiting?.reject(cause as Error); }
  };

  #remember(key: string, blocks: Blocks): Blocks {
    this.#cache.set(key, blocks);
    if (this.#cache.size > this.#keep) this.#cache.delete(this.#cache.keys().next().value as string);
    return blocks;
  }
}
