// Playing: moves the epoch a little every frame, in proportion to the time axis.
import { indexNearest, neighbour } from "../data/epochs";
import type { Store } from "./store";

export const WHOLE_RUN_S = 14;
export const SPEEDS = [0.25, 0.5, 1, 2, 4] as const;

/** Where playing has got to after `seconds`; null at the end of a run that does not loop. */
export function advance(
  moment: number,
  seconds: number,
  first: number,
  last: number,
  speed: number,
  loop: boolean,
): number | null {
  const next = moment + ((last - first) / WHOLE_RUN_S) * speed * seconds;
  if (next < last) return next;
  return loop ? first + ((next - last) % Math.max(last - first, 1e-9)) : null;
}

export class Player {
  speed = 1;
  loop = false;
  #store: Store;
  #epochs: () => ArrayLike<number>;
  #frame = 0;
  #then = 0;
  #listeners = new Set<() => void>();

  constructor(store: Store, epochs: () => ArrayLike<number>) {
    this.#store = store;
    this.#epochs = epochs;
  }

  get playing(): boolean {
    return this.#frame !== 0;
  }
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  play(): void {
    const epochs = this.#epochs();
    if (this.playing || epochs.length < 2) return;
    if (this.#store.value.epoch >= epochs[epochs.length - 1]!)
      this.#store.set({ epoch: epochs[0]! }, "passing");
    this.#then = performance.now();
    this.#frame = requestAnimationFrame(this.#tick);
    this.#tell();
  }

  /** Stops at the nearest recorded epoch. */
  pause(): void {
    if (!this.playing) return;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const epochs = this.#epochs();
    this.#store.set({ epoch: epochs[indexNearest(epochs, this.#store.value.epoch)]! });
    this.#tell();
  }

  step(direction: -1 | 1): void {
    this.pause();
    this.#store.set({ epoch: neighbour(this.#epochs(), this.#store.value.epoch, direction) });
  }

  set(options: { speed?: number; loop?: boolean }): void {
    Object.assign(this, options);
    this.#tell();
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#listeners.clear();
  }

  #tick = (now: number): void => {
    const epochs = this.#epochs(),
      last = epochs[epochs.length - 1]!;
    // a tab that slept wakes where it fell asleep
    const seconds = Math.min((now - this.#then) / 1000, 0.25);
    this.#then = now;
    const next = advance(this.#store.value.epoch, seconds, epochs[0]!, last, this.speed, this.loop);
    if (next === null) {
      this.#store.set({ epoch: last }, "passing");
      this.pause();
      return;
    }
    this.#frame = requestAnimationFrame(this.#tick);
    this.#store.set({ epoch: next }, "passing");
  };

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
