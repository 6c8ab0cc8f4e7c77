// Where the parts of a small chart go. Pure.

export interface Ranged {
  readonly values: ArrayLike<number>;
  readonly low?: ArrayLike<number>;
  readonly high?: ArrayLike<number>;
}

/** The ends of the vertical axis: what is given, else the finite values and zero with a little air. */
export function domainOf(series: readonly Ranged[], low?: number, high?: number): [number, number] {
  let least = low ?? 0,
    most = high ?? 0;
  for (const { values, low: below, high: above } of series)
    for (const list of [values, below, above]) {
      if (!list) continue;
      for (let i = 0; i < list.length; i++) {
        const value = list[i]!;
        if (!Number.isFinite(value)) continue;
        if (low === undefined) least = Math.min(least, value);
        if (high === undefined) most = Math.max(most, value);
      }
    }
  if (most - least === 0) most = least + 1;
  const air = (most - least) * 0.04;
  return [low ?? (least < 0 ? least - air : least), high ?? (most > 0 ? most + air : most)];
}

/** Moves labels apart until neighbours are `gap` from each other, staying between the ends where they fit. */
export function apart(
  wanted: readonly number[],
  gap: number,
  top: number,
  bottom: number,
): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]!),
    out = [...wanted];
  for (let i = 0; i < order.length; i++)
    out[order[i]!] = Math.max(wanted[order[i]!]!, i ? out[order[i - 1]!]! + gap : top);
  for (let i = order.length - 1, limit = bottom; i >= 0; i--) {
    out[order[i]!] = Math.min(out[order[i]!]!, limit);
    limit = out[order[i]!]! - gap;
  }
  return out;
}

/** The outline between two curves, in one piece for each stretch where both are finite. */
export function band(
  xs: ArrayLike<number>,
  low: ArrayLike<number>,
  high: ArrayLike<number>,
  x: (v: number) => number,
  y: (v: number) => number,
): string {
  let out = "";
  for (let i = 0; i < xs.length; ) {
    if (!Number.isFinite(low[i]!) || !Number.isFinite(high[i]!)) {
      i++;
      continue;
    }
    let end = i;
    while (end < xs.length && Number.isFinite(low[end]!) && Number.isFinite(high[end]!)) end++;
    const at = (k: number, list: ArrayLike<number>): string =>
      `${x(xs[k]!).toFixed(1)},${y(list[k]!).toFixed(1)}`;
    let piece = "";
    for (let k = i; k < end; k++) piece += `${k === i ? "M" : "L"}${at(k, high)}`;
    for (let k = end - 1; k >= i; k--) piece += `L${at(k, low)}`;
    out += `${piece}Z`;
    i = end;
  }
  return out;
}
