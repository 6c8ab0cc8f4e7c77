// The colours of the points on screen, made anew only where something they depend on changed.
import type { Projection } from "../../data/projection";
import type { Selection } from "../../state/selection";
import { wordsFor } from "../../ui/words";
import type { Context, State } from "../../view";
import { inked, type Painting, painting } from "./colouring";
import type { Material } from "./material";

const TIMED = ["correct", "loss", "influence"];

export class Inking {
  colours: Uint8Array = new Uint8Array(0);
  painting: Painting | null = null;
  #context: Context;
  #key = "";
  #of: readonly unknown[] = [];

  constructor(context: Context) {
    this.#context = context;
  }

  /** `large`: recolouring would take longer than a frame, so while playing the last colours stay. */
  update(
    { selection, theme, moving }: State,
    projection: Projection,
    material: Material,
    colour: string,
    large: boolean,
  ): void {
    const { record } = this.#context,
      timed = TIMED.includes(colour);
    const light = record.light(selection.epoch, record.method(selection.method)?.id ?? null);
    if (moving && timed && large && this.#key) return;
    const key = [
      projection.layer,
      colour,
      theme.dark,
      theme.colour("bg"),
      material.version,
      timed ? material.stamp(selection.epoch) : "",
      colour === "influence" ? light.level : "",
    ].join("|");
    const of = [
      selection.selected,
      selection.selected_tests,
      colour === "influence" ? material.scores : null,
    ];
    if (key === this.#key && of.every((ids, i) => ids === this.#of[i])) return;
    this.#key = key;
    this.#of = of;
    this.painting = painting(colour, {
      projection,
      theme,
      moment: selection.epoch,
      train: material.train,
      test: material.test,
      scores: material.scores,
      rows: material.rows,
      words: wordsFor(light),
      classes: record.classes,
      groups: record.groups,
    });
    this.colours = inked(projection, this.painting.ink, chosenRows(selection, projection));
  }
}

/** Rows of the selected examples of both splits; null where nothing is selected. */
export function chosenRows(
  { selected, selected_tests }: Selection,
  projection: Projection,
): Set<number> | null {
  if (!selected.length && !selected_tests.length) return null;
  return new Set([
    ...selected.map((id) => projection.row("train", id)),
    ...selected_tests.map((id) => projection.row("test", id)),
  ]);
}
