// Choosing the examples of a kind by its name in the legend.
import type { Projection } from "../../data/projection";
import type { Selection } from "../../state/selection";
import { plural } from "../../ui/format";
import type { Context } from "../../view";
import type { Kinds } from "./names";

export class Isolation {
  #context: Context;
  #codes = new Set<number>();
  #train: readonly number[] = [];
  #test: readonly number[] = [];

  constructor(context: Context) {
    this.#context = context;
  }

  /** The kinds that are chosen, until something else is. */
  codes({ selected, selected_tests }: Selection): ReadonlySet<number> {
    if (selected !== this.#train || selected_tests !== this.#test) this.#codes = new Set();
    return this.#codes;
  }

  /** Choose the examples of one kind; with `add` these too; once more lets them go. */
  toggle(code: number, add: boolean, projection: Projection, kinds: Kinds): void {
    const { store, announce } = this.#context,
      had = this.codes(store.value),
      codes = new Set(add ? had : []);
    if (!had.has(code)) codes.add(code);
    else codes.delete(code);
    const ids: [number[], number[]] = [[], []];
    if (codes.size)
      for (let row = 0; row < projection.count; row++)
        if (codes.has(kinds.of(row))) ids[projection.split[row] as 0 | 1].push(projection.id[row]!);
    for (const list of ids) list.sort((p, q) => p - q);
    store.set({ selected: ids[0], selected_tests: ids[1] });
    this.#codes = codes;
    this.#train = store.value.selected;
    this.#test = store.value.selected_tests;
    announce(
      codes.size
        ? `${plural(ids[0].length + ids[1].length, "example")} selected`
        : "nothing selected",
    );
  }
}
