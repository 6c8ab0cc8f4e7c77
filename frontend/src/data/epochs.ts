// Where a moment lies among recorded epochs. Epochs ascend; none of these allocate.

/** Index of the last epoch at or before `moment`; 0 where all lie after it. */
export function indexBefore(epochs: ArrayLike<number>, moment: number): number {
  let low = 0,
    high = epochs.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (epochs[middle]! <= moment) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Index of the recorded epoch closest to `moment`; the earlier one of two equally close. */
export function indexNearest(epochs: ArrayLike<number>, moment: number): number {
  const i = indexBefore(epochs, moment);
  return i + 1 < epochs.length && epochs[i + 1]! - moment < moment - epochs[i]! ? i + 1 : i;
}

/** The recorded epoch one step before (-1) or after (+1) a moment, clamped at the ends. */
export function neighbour(epochs: ArrayLike<number>, moment: number, direction: -1 | 1): number {
  if (!epochs.length) return moment;
  const i = indexBefore(epochs, moment);
  if (direction > 0) return epochs[Math.min(epochs[i]! > moment ? i : i + 1, epochs.length - 1)]!;
  return epochs[Math.max(epochs[i]! < moment ? i : i - 1, 0)]!;
}

/** A curve's value at a moment, linear between recorded epochs, NaN where there is none. */
export function valueAt(
  epochs: ArrayLike<number>,
  values: ArrayLike<number>,
  moment: number,
): number {
  if (!epochs.length) return NaN;
  const i = indexBefore(epochs, moment),
    a = epochs[i]!,
    b = epochs[i + 1];
  if (b === undefined || moment <= a) return values[i]!;
  const share = (moment - a) / (b - a);
  return values[i]! * (1 - share) + values[i + 1]! * share;
}
