// The faces of examples: label, text, picture, table row. They arrive in chunks of rows.
import type { Split } from "../state/selection";
import type { Blocks } from "./blocks";
import type { Source } from "./source";

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly bytes: Uint8Array;
}
export interface Face {
  readonly split: Split;
  readonly id: number;
  readonly position: number;
  readonly label: string;
  readonly labelCode: number;
  readonly group: string | null;
  /** What the table calls it, where a column does. */
  readonly name: string | null;
  readonly text: string | null;
  readonly picture: Picture | null;
  /** Further properties, name and value, as text. */
  readonly cells: readonly (readonly [string, string])[];
  /** Words of warning from the record, such as "label looks wrong". */
  readonly flags: readonly string[];
  /** First epoch at which it was right; -1 never; null not recorded. */
  readonly firstLearned: number | null;
  /** How far it is memorized, 0 to 1; NaN where no analysis says. */
  readonly memorization: number;
}

export class Examples {
  readonly split: Split;
  readonly count: number;
  #chunk: number;
  #classes: string[];
  #groups: string[];
  #source: Source;
  #faces = new Map<number, Face>();
  #positions = new Map<number, number>();

  constructor(
    split: Split,
    count: number,
    chunk: number,
    classes: string[],
    groups: string[],
    source: Source,
  ) {
    this.split = split;
    this.count = count;
    this.#chunk = chunk;
    this.#classes = classes;
    this.#groups = groups;
    this.#source = source;
  }

  #key(position: number): string {
    return `examples/${this.split}/${Math.floor(position / this.#chunk)}`;
  }

  /** The face of the example in a row, or null until its chunk is here. */
  face(position: number): Face | null {
    const known = this.#faces.get(position);
    if (known) return known;
    if (position < 0 || position >= this.count) return null;
    const blocks = this.#source.peek(this.#key(position));
    if (!blocks) return null;
    const face = this.#read(blocks, position);
    this.#faces.set(position, face);
    return face;
  }

  /** Resolves when the rows' faces can be read. */
  async load(positions: Iterable<number>): Promise<void> {
    const keys = new Set([...positions].map((position) => this.#key(position)));
    await Promise.all([...keys].map((key) => this.#source.get(key)));
  }
  loadAll(): Promise<void> {
    return this.load(
      Array.from({ length: Math.ceil(this.count / this.#chunk) }, (_, i) => i * this.#chunk),
    );
  }

  get allHere(): boolean {
    for (let p = 0; p < this.count; p += this.#chunk)
      if (!this.#source.peek(this.#key(p))) return false;
    return true;
  }

  /** The row of an id among the chunks that are here, or -1. */
  position(id: number): number {
    const known = this.#positions.get(id);
    if (known !== undefined) return known;
    for (let start = 0; start < this.count; start += this.#chunk) {
      const ids = this.#source.peek(this.#key(start))?.numbers("id");
      if (!ids || this.#positions.get(ids[0]!) !== undefined) continue;
      ids.forEach((each, i) => this.#positions.set(each, start + i));
    }
    return this.#positions.get(id) ?? -1;
  }
  byId(id: number | null): Face | null {
    return id === null ? null : this.face(this.position(id));
  }

  #read(blocks: Blocks, position: number): Face {
    const i = position % this.#chunk;
    const code = blocks.maybe("label")?.[i] ?? -1;
    const group = blocks.maybe("group")?.[i] ?? -1;
    let picture: Picture | null = null;
    if (blocks.has("thumbnail")) {
      const { values, shape } = blocks.grid("thumbnail");
      const [, height = 0, width = 0, channels = 1] = shape,
        size = height * width * channels;
      picture = {
        width,
        height,
        channels,
        bytes: (values as Uint8Array).subarray(i * size, (i + 1) * size),
      };
    }
    return {
      split: this.split,
      position,
      id: blocks.numbers("id")[i]!,
      labelCode: code,
      label: this.#classes[code] ?? "",
      group: this.#groups[group] ?? null,
      picture,
      name: (blocks.has("name") && blocks.strings("name")[i]) || null,
      text: blocks.has("text") ? (blocks.strings("text")[i] ?? null) : null,
      cells: blocks
        .names("cell/")
        .map((name) => [name.slice(5), blocks.strings(name)[i] ?? ""] as const)
        .filter(([, value]) => value !== ""),
      flags: blocks
        .names("flag/")
        .filter((name) => blocks.numbers(name)[i])
        .map((name) => name.slice(5)),
      memorization: blocks.maybe("memorization")?.[i] ?? NaN,
      firstLearned: blocks.maybe("first_learned")?.[i] ?? null,
    };
  }
}
