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

/** The kind furthest above what is expected, in standard deviations of a draw without choice; null where none is beyond 2. */
export function standout(list: readonly Bar[]): Bar | null {
  const n = list.reduce((sum, bar) => sum + bar.count, 0);
  let best: Bar | null = null,
    most = 2;
  for (const bar of list) {
    const spread = Math.sqrt(bar.expected * (1 - bar.expected / Math.max(n, 1)));
    const z = spread > 0 ? (bar.count - bar.expected) / spread : 0;
    if (z > most) {
      most = z;
      best = bar;
    }
  }
  return best;
}

/** How many gainers are looked at together: an eighth, but neither a handful nor a crowd. */
export function crowd(count: number): number {
  return Math.min(count, Math.max(10, Math.min(500, Math.round(count / 8))));
}
