// A layer's feature space over training: where every example lies at every recorded epoch.
// The header comes as "projection/<layer>", positions in chunks of epochs as "positions/<chunk>/<layer>".
import type { Split } from "../state/selection";
import type { Blocks, Numbers } from "./blocks";
import { indexBefore } from "./epochs";
import type { Source } from "./source";

/** A quantised coordinate that stands for "no position"; all others lie in 0..ABSENT - 1. */
export const ABSENT = 65535;

export interface Moment {
  readonly before: number;
  readonly after: number;
  readonly share: number;
}

/** The two recorded epochs around a moment and how far it lies between them. Pure. */
export function between(epochs: ArrayLike<number>, moment: number): Moment {
  const before = indexBefore(epochs, moment),
    a = epochs[before] ?? 0,
    b = epochs[before + 1];
  if (b === undefined || moment <= a) return { before, after: before, share: 0 };
  return { before, after: before + 1, share: (moment - a) / (b - a) };
}

export class Projection {
  readonly layer: string;
  readonly epochs: Numbers;
  readonly count: number;
  readonly about: string;
  /** 0 for a training example, 1 for a test example. */
  readonly split: Numbers;
  readonly id: Numbers;
  /** The row of each point in its split's table. */
  readonly place: Numbers;
  readonly label: Numbers | null;
  readonly group: Numbers | null;
  readonly memorization: Numbers | null;
  /** x, y, half: what to show of each epoch so that it fills the panel. */
  readonly frames: Numbers;
  #chunk: number;
  #source: Source;
  #held = new Map<number, Uint16Array>();
  #rows: Map<number, number>[] | null = null; // null: points are the tables' rows, and ids count them
  #firstTest: number;

  constructor(layer: string, header: Blocks, source: Source) {
    this.layer = layer;
    this.#source = source;
    this.epochs = header.numbers("epoch");
    this.split = header.numbers("split");
    this.count = this.split.length;
    const first = this.split.indexOf(1 as never);
    this.#firstTest = first < 0 ? this.count : first;
    this.id =
      header.maybe("id") ??
      Int32Array.from(this.split, (test, row) => (test ? row - this.#firstTest : row));
    this.place = header.maybe("place") ?? this.id;
    this.label = header.maybe("label");
    this.group = header.maybe("group");
    this.memorization = header.maybe("memorization");
    this.frames = header.numbers("frame");
    this.about = header.strings("about")[0] ?? "";
    this.#chunk = header.numbers("chunk")[0]!;
    if (!header.has("id")) return;
    this.#rows = [new Map(), new Map()];
    for (let row = 0; row < this.count; row++)
      this.#rows[this.split[row]!]!.set(this.id[row]!, row);
  }

  static async load(layer: string, source: Source): Promise<Projection> {
    return new Projection(layer, await source.get(`projection/${layer}`), source);
  }

  /** The row of an example, or -1 where this layer does not show it. */
  row(split: Split, id: number): number {
    const test = split === "test";
    if (this.#rows) return this.#rows[test ? 1 : 0]!.get(id) ?? -1;
    return id < 0 || id >= (test ? this.count - this.#firstTest : this.#firstTest)
      ? -1
      : id + (test ? this.#firstTest : 0);
  }

  /** x, y of every row at a recorded epoch, or null until its chunk is here; `wait` fetches it. */
  at(epoch: number): Uint16Array | null {
    const blocks = this.#source.peek(this.#key(epoch));
    return blocks ? this.#slice(blocks, epoch) : null;
  }
  async wait(epoch: number): Promise<Uint16Array> {
    return this.#slice(await this.#source.get(this.#key(epoch)), epoch);
  }

  has(epoch: number): boolean {
    return this.#source.has(this.#key(epoch));
  }

  #key(epoch: number): string {
    return `positions/${Math.floor(epoch / this.#chunk)}/${this.layer}`;
  }
  #slice(blocks: Blocks, epoch: number): Uint16Array {
    // the same array each time, so that who has it on the GPU can tell
    const known = this.#held.get(epoch);
    if (known) return known;
    const start = (epoch % this.#chunk) * this.count * 2;
    const positions = (blocks.numbers("position") as Uint16Array).subarray(
      start,
      start + this.count * 2,
    );
    this.#held.set(epoch, positions);
    if (this.#held.size > 16) this.#held.delete(this.#held.keys().next().value as number);
    return positions;
  }
}
