// Binary blocks with a JSON directory: the one format that carries arrays from Python.
//
//   bytes 0-3   "DGB1"
//   bytes 4-7   length of the directory, little endian
//   then        the directory: {attrs, blocks: [{name, dtype, shape, offset}]}, UTF-8
//   then        the blocks; offsets count from the first multiple of 8 after the directory
//
// An "f2" block of n half floats is n low bytes followed by n high bytes, which compress better apart.
// A "utf8" block of n strings is n + 1 uint32 ends followed by the bytes.
// A "pack" block is a whole container of its own, parsed when it is asked for.
import { float16ToFloat32 } from "./float16";

export type Numbers =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;
export interface Entry {
  name: string;
  dtype: string;
  shape: number[];
  offset: number;
}
export interface Grid {
  readonly values: Numbers;
  readonly shape: readonly number[];
}

const MAGIC = 0x31424744; // "DGB1"
const VIEWS: Record<string, new (buffer: ArrayBuffer, offset: number, length: number) => Numbers> =
  {
    f4: Float32Array,
    f8: Float64Array,
    i4: Int32Array,
    u4: Uint32Array,
    i2: Int16Array,
    u2: Uint16Array,
    i1: Int8Array,
    u1: Uint8Array,
  };
const text = new TextDecoder();

export class Blocks {
  readonly attrs: Record<string, unknown>;
  #directory = new Map<string, Entry>();
  #buffer: ArrayBuffer;
  #base: number;
  #numbers = new Map<string, Grid>();
  #strings = new Map<string, string[]>();

  constructor(view: DataView) {
    if (view.byteLength < 8 || view.getUint32(0, true) !== MAGIC)
      throw new Error("these bytes are not a block container");
    const length = view.getUint32(4, true);
    const head = JSON.parse(
      text.decode(new Uint8Array(view.buffer, view.byteOffset + 8, length)),
    ) as { attrs: Record<string, unknown>; blocks: Entry[] };
    this.attrs = head.attrs;
    for (const entry of head.blocks) this.#directory.set(entry.name, entry);
    const start = 8 + length + ((8 - ((8 + length) % 8)) % 8);
    // typed arrays want aligned offsets; a message's DataView may start anywhere
    if ((view.byteOffset + start) % 8 === 0 && view.buffer instanceof ArrayBuffer) {
      this.#buffer = view.buffer;
      this.#base = view.byteOffset + start;
    } else {
      this.#buffer = new Uint8Array(
        view.buffer,
        view.byteOffset + start,
        view.byteLength - start,
      ).slice().buffer;
      this.#base = 0;
    }
  }

  has(name: string): boolean {
    return this.#directory.has(name);
  }
  names(prefix = ""): string[] {
    return [...this.#directory.keys()].filter((name) => name.startsWith(prefix));
  }
  shape(name: string): readonly number[] {
    return this.#entry(name).shape;
  }

  /** The values of a block and its shape; half floats come as Float32Array. */
  grid(name: string): Grid {
    const known = this.#numbers.get(name);
    if (known) return known;
    const { dtype, shape, offset } = this.#entry(name);
    const count = shape.reduce((a, b) => a * b, 1);
    let values: Numbers;
    if (dtype === "f2")
      values = float16ToFloat32(new Uint8Array(this.#buffer, this.#base + offset, 2 * count));
    else {
      const View = VIEWS[dtype];
      if (!View) throw new Error(`block ${name} has the unknown dtype ${dtype}`);
      values = new View(this.#buffer, this.#base + offset, count);
    }
    const grid = { values, shape };
    this.#numbers.set(name, grid);
    return grid;
  }

  numbers(name: string): Numbers {
    return this.grid(name).values;
  }
  /** As `numbers`, or null where the record has no such block. */
  maybe(name: string): Numbers | null {
    return this.has(name) ? this.numbers(name) : null;
  }

  strings(name: string): string[] {
    const known = this.#strings.get(name);
    if (known) return known;
    const { shape, offset } = this.#entry(name);
    const n = shape[0] ?? 0;
    const ends = new Uint32Array(this.#buffer, this.#base + offset, n + 1);
    const bytes = this.#base + offset + 4 * (n + 1);
    const out = Array.from({ length: n }, (_, i) =>
      text.decode(
        new Uint8Array(this.#buffer, bytes + (ends[i] ?? 0), (ends[i + 1] ?? 0) - (ends[i] ?? 0)),
      ),
    );
    this.#strings.set(name, out);
    return out;
  }

  pack(name: string): Blocks {
    const { shape, offset } = this.#entry(name);
    return new Blocks(new DataView(this.#buffer, this.#base + offset, shape[0]));
  }

  #entry(name: string): Entry {
    const entry = this.#directory.get(name);
    if (!entry) throw new Error(`the board was sent no block ${name}`);
    return entry;
  }
}
