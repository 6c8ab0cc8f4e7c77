// In which order points are drawn, and which stand for all where not all are. Pure.
const held = new Map<number, Uint32Array>();

/**
 * The rows in an order that has nothing to do with theirs, always the same for a count: tables are sorted by class
 * or run through the classes in turn, and every tenth row would be of one class. Its beginning is a sample of all.
 */
export function shuffled(count: number): Uint32Array {
  let order = held.get(count);
  if (order) return order;
  order = Uint32Array.from({ length: count }, (_, row) => row);
  let state = 1;
  for (let left = count - 1; left > 0; left--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (left + 1)),
      row = order[left]!;
    order[left] = order[other]!;
    order[other] = row;
  }
  if (held.size > 3) held.clear();
  held.set(count, order);
  return order;
}
