// Who gained and who lost between two moments, and what those have in common. Pure.

/** Change of the mean score of every training example; NaN where either end has none. */
export function gains(
  mean: ArrayLike<number>,
  scale: ArrayLike<number>,
  count: number,
  before: number,
  after: number,
): Float64Array {
  const out = new Float64Array(count),
    a = scale[before]!,
    b = scale[after]!;
  for (let row = 0; row < count; row++)
    out[row] = mean[after * count + row]! * b - mean[before * count + row]! * a;
  return out;
}

/** Rows of the k largest values above zero (sign 1) or smallest below it (-1), strongest first; ties by row. */
export function extremes(values: ArrayLike<number>, k: number, sign: 1 | -1): number[] {
  const rows: number[] = [];
  for (let row = 0; row < values.length; row++) if (values[row]! * sign > 0) rows.push(row);
  return rows.sort((a, b) => sign * (values[b]! - values[a]!) || a - b).slice(0, k);
}

/** One example's course of mean scores. */
export function courseOf(
  mean: ArrayLike<number>,
  scale: ArrayLike<number>,
  count: number,
  row: number,
): Float64Array {
  return Float64Array.from(
    { length: scale.length },
    (_, epoch) => mean[epoch * count + row]! * scale[epoch]!,
  );
}

export interface Bar {
  readonly name: string;
  readonly count: number;
  readonly expected: number;
}

/** How often each kind occurs among some rows, and would in as many drawn from all. */
export function bars(
  codes: ArrayLike<number>,
  names: readonly string[],
  rows: readonly number[],
): Bar[] {
  const all = new Float64Array(names.length),
    some = new Float64Array(names.length);
  let known = 0;
  for (let row = 0; row < codes.length; row++)
    if (codes[row]! >= 0) {
      all[codes[row]!]!++;
      known++;
    }
  const counted = rows.filter((row) => codes[row]! >= 0);
  for (const row of counted) some[codes[row]!]!++;
  return names.map((name, code) => ({
    name,
    count: some[code]!,
    expected: known ? (all[code]! * counted.length) / known : 0,
  }));
}

const DRAWS = 999;
const LEVEL = 0.05;

/**
 * The kind whose count is furthest from what is expected, where that is further than the furthest
 * kind of random draws is in 95 % of them (Westfall and Young 1993): corrected for their number,
 * as `dg_explorer.maths.enrichment` does. Null where none is.
 */
export function standout(
  codes: ArrayLike<number>,
  names: readonly string[],
  rows: readonly number[],
  draws = DRAWS,
): Bar | null {
  const list = bars(codes, names, rows),
    size = list.reduce((sum, bar) => sum + bar.count, 0),
    known = knownOf(codes);
  if (!size || size === known.length) return null;
  const left = (known.length - size) / Math.max(known.length - 1, 1),
    spread = list.map(
      ({ expected }) => Math.sqrt(expected * (1 - expected / size) * left) || Infinity,
    ),
    apart = (count: number, kind: number): number =>
      Math.abs(count - list[kind]!.expected) / spread[kind]!,
    far = list.map((bar, kind) => apart(bar.count, kind)),
    most = far.reduce((best, value, kind) => (value > far[best]! ? kind : best), 0),
    count = new Float64Array(names.length),
    random = generator(size);
  let reached = 1;
  for (let draw = 0; draw < draws; draw++) {
    count.fill(0);
    // the first `size` of a shuffle; one that goes on from the last is as random
    for (let i = 0; i < size; i++) {
      const j = i + Math.floor(random() * (known.length - i)),
        drawn = known[j]!;
      known[j] = known[i]!;
      known[i] = drawn;
      count[drawn]!++;
    }
    if (count.some((value, kind) => apart(value, kind) >= far[most]! - 1e-9)) reached++;
  }
  return reached / (draws + 1) <= LEVEL ? list[most]! : null;
}

/** The codes that are known. */
function knownOf(codes: ArrayLike<number>): Int32Array {
  const known = new Int32Array(codes.length);
  let n = 0;
  for (let row = 0; row < codes.length; row++) if (codes[row]! >= 0) known[n++] = codes[row]!;
  return known.subarray(0, n);
}

/** Uniform numbers in [0, 1) that are the same each time, so that a board says the same twice (mulberry32). */
function generator(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** How many gainers are looked at together: an eighth, but neither a handful nor a crowd. */
export function crowd(count: number): number {
  return Math.min(count, Math.max(10, Math.min(500, Math.round(count / 8))));
}
