// The names of kinds where their examples are: one at the median of each, followed as it moves.
import { ABSENT } from "../../data/projection";
import { clipped } from "../../ui/format";
import { shuffled } from "./order";
import type { Scene } from "./where";

const SAMPLED = 8_000,
  FEWEST = 3,
  LINE = 15,
  CHARACTER = 7.2;

export interface Kinds {
  readonly names: readonly string[];
  readonly of: (row: number) => number;
}

/** The median position of each kind, x, y in quantised steps; NaN where hardly anyone is. Pure. */
export function middles(positions: Uint16Array, count: number, { names, of }: Kinds): Float64Array {
  const lists = names.map((): [number[], number[]] => [[], []]),
    order = shuffled(count),
    most = Math.min(count, SAMPLED);
  for (let i = 0; i < most; i++) {
    const row = order[i]!,
      list = lists[of(row)],
      x = positions[2 * row]!;
    if (list && x !== ABSENT) {
      list[0].push(x);
      list[1].push(positions[2 * row + 1]!);
    }
  }
  const median = (values: number[]): number =>
    values.length < FEWEST ? NaN : Float64Array.from(values).sort()[values.length >> 1]!;
  return Float64Array.from(lists.flatMap(([x, y]) => [median(x), median(y)]));
}

/** Moves names down until none lies on another; near ones only, and by no more than they must. Pure. */
export function parted(
  spots: readonly { readonly x: number; readonly y: number; readonly half: number }[],
): number[] {
  const order = spots.map((_, i) => i).sort((a, b) => spots[a]!.y - spots[b]!.y),
    out = spots.map(({ y }) => y);
  order.forEach((i, rank) => {
    for (const j of order.slice(0, rank))
      if (
        Math.abs(spots[i]!.x - spots[j]!.x) < spots[i]!.half + spots[j]!.half &&
        out[i]! < out[j]! + LINE
      )
        out[i] = out[j]! + LINE;
  });
  return out;
}

/** Sixteen characters at most; fewer where each is many code units, as families of emoji are. */
function shown(name: string): string {
  const text = clipped(name, 16);
  return text.length > 24 ? clipped(name, 4) : text;
}

export interface Named {
  readonly name: string;
  readonly x: number;
  readonly y: number;
}

export class Names {
  #kinds: Kinds | null = null;
  #held = new Map<Uint16Array, Float64Array>();

  /** Each name and where its line of text begins; those of kinds that hardly anyone is of are left out. */
  at(scene: Scene, count: number, kinds: Kinds | null): Named[] {
    if (!kinds) return [];
    if (kinds !== this.#kinds) {
      this.#kinds = kinds;
      this.#held.clear();
    }
    const a = this.#middle(scene.a, count),
      b = this.#middle(scene.b, count),
      { fit, share } = scene;
    const at = (i: number, k: number, d: number): number =>
      (a[i]! + (b[i]! - a[i]!) * share) * k + d;
    const spots = kinds.names
      .map((name, i) => ({
        name: shown(name),
        x: at(2 * i, fit.kx, fit.dx),
        y: at(2 * i + 1, fit.ky, fit.dy),
      }))
      .filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
    const ys = parted(
      spots.map(({ name, x, y }) => ({ x, y, half: (name.length * CHARACTER) / 2 + 3 })),
    );
    return spots.map(({ name, x }, i) => ({ name, x, y: ys[i]! + 4 }));
  }

  /** Medians of a recorded epoch are taken once; between two epochs names move as points do. */
  #middle(positions: Uint16Array, count: number): Float64Array {
    let found = this.#held.get(positions);
    if (!found) {
      if (this.#held.size > 16) this.#held.clear();
      this.#held.set(positions, (found = middles(positions, count, this.#kinds!)));
    }
    return found;
  }
}
