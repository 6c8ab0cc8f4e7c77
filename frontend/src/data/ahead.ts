// Asks for what a click on something in view would need, one thing at a time, while nobody waits.
import type { Source } from "./source";

const REST_MS = 60; // what is scrolled past is not asked for
const SLOW_MS = 300; // a kernel that takes this long has better things to do

export class Ahead {
  #source: Source;
  #wanted: string[] = [];
  #said = "";
  #running = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(source: Source, signal: AbortSignal) {
    this.#source = source;
    signal.addEventListener("abort", () => {
      clearTimeout(this.#timer);
      this.#wanted = [];
    });
  }

  want(keys: readonly string[]): void {
    const said = keys.join();
    if (said === this.#said) return;
    this.#said = said;
    this.#wanted = [...keys];
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#run(), REST_MS);
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    for (let key = this.#wanted.shift(); key !== undefined; key = this.#wanted.shift()) {
      if (this.#source.has(key)) continue;
      const began = performance.now();
      // who clicks on it is told what is wrong
      try {
        await this.#source.get(key);
      } catch {
        this.#wanted = [];
      }
      if (performance.now() - began > SLOW_MS) this.#wanted = [];
    }
    this.#running = false;
  }
}
