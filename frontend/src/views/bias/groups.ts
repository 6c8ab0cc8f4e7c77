// Groups: who is worst off at a moment, and which training groups teach whom. Pure.

/** The group with the lowest accuracy at an epoch, among those with any; -1 if none. */
export function worst(accuracy: ArrayLike<number>, groups: number, epoch: number): number {
  let least = Infinity,
    at = -1;
  for (let group = 0; group < groups; group++) {
    const value = accuracy[epoch * groups + group]!;
    if (value < least) {
      least = value;
      at = group;
    }
  }
  return at;
}

/** One column of an (epoch, group) grid as a curve. */
export function curveOf(
  grid: ArrayLike<number>,
  epochs: number,
  groups: number,
  group: number,
): Float64Array {
  return Float64Array.from({ length: epochs }, (_, epoch) => grid[epoch * groups + group]!);
}

/** Course of the mean score of a training group on a test group, from (epoch, test group, train group). */
export function lesson(
  mean: ArrayLike<number>,
  epochs: number,
  groups: number,
  test: number,
  train: number,
): Float64Array {
  return Float64Array.from(
    { length: epochs },
    (_, epoch) => mean[(epoch * groups + test) * groups + train]!,
  );
}

/** The largest finite size at an epoch: what the matrix's colours are scaled to. */
export function largest(mean: ArrayLike<number>, groups: number, epoch: number): number {
  let most = 0;
  for (let i = epoch * groups * groups; i < (epoch + 1) * groups * groups; i++) {
    const size = Math.abs(mean[i]!);
    if (size > most && Number.isFinite(size)) most = size;
  }
  return most;
}
