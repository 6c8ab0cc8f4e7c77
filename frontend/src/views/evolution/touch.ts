// What the pointer and the keys do to points: hover, choose, enclose, step to a neighbour.
import type { Selection, Split } from "../../state/selection";
import { nameOf } from "../../ui/face";
import { clipped, plural } from "../../ui/format";
import type { Context } from "../../view";
import type { Camera, Panel } from "./camera";
import { gestures, type Tool } from "./gestures";
import { radiusFor } from "./painter";
import { nearest, pixel, type Scene, towards, within } from "./where";

const REACH = 5; // pixels beyond a point's rim that still mean it

interface Example {
  readonly split: Split;
  readonly id: number;
}

/** A plot of examples as points; a row is a point's number. */
export interface Points {
  readonly area: HTMLElement;
  readonly scene: () => Scene | null;
  readonly count: () => number;
  readonly example: (row: number) => Example | null;
  readonly row: (example: Example) => number;
  /** Where the arrow keys start while nothing is hovered. */
  readonly start: (selection: Selection) => Example | null;
  readonly tool: () => Tool;
  readonly panel: () => Panel;
  readonly camera: () => Camera;
  setCamera(camera: Camera): void;
  draft(outline: readonly number[] | null): void;
  left(): void;
}

export class Touch {
  /** Where the hovered point's tip belongs, in pixels. */
  pointer: readonly [number, number] | null = null;
  #context: Context;
  #points: Points;

  constructor(context: Context, points: Points) {
    this.#context = context;
    this.#points = points;
    gestures(
      {
        area: points.area,
        tool: points.tool,
        panel: points.panel,
        camera: points.camera,
        setCamera: (camera) => points.setCamera(camera),
        hover: (x, y) => this.#hover(x, y),
        leave: () => {
          this.pointer = null;
          points.left();
          context.store.set({ hovered: null }, "passing");
        },
        click: (x, y, add) => this.#choose(this.#pick(x, y), add),
        choose: (add) => this.#choose(this.hovered(), add),
        draft: (outline) => points.draft(outline),
        enclose: (outline, add) => this.#enclose(outline, add),
        step: (x, y) => this.#step(x, y),
      },
      context,
    );
  }

  /** The row under the pointer, or that the keys reached; -1 for none. */
  hovered(): number {
    const { hovered } = this.#context.store.value;
    return hovered ? this.#points.row(hovered) : -1;
  }

  #pick(x: number, y: number): number {
    const scene = this.#points.scene(),
      count = this.#points.count();
    if (!scene) return -1;
    return nearest(scene, count, x, y, radiusFor(count, this.#points.camera().zoom) + REACH);
  }

  #hover(x: number, y: number): void {
    const row = this.#pick(x, y);
    this.pointer = row < 0 ? null : [x, y];
    if (row < 0) this.#points.left();
    this.#points.area.style.cursor = row < 0 ? "" : "pointer";
    this.#context.store.set({ hovered: this.#example(row) }, "passing");
  }

  #choose(row: number, add: boolean): void {
    const { store } = this.#context,
      example = this.#example(row);
    if (!example) {
      if (!add) store.set({ selected: [], selected_tests: [] });
      return;
    }
    const { split, id } = example;
    if (add) {
      const key = split === "test" ? "selected_tests" : "selected",
        had = store.value[key];
      store.set({
        [key]: sorted(had.includes(id) ? had.filter((one) => one !== id) : [...had, id]),
      });
    } else store.set(split === "test" ? { test: id } : { train: id });
    this.#tell(example, add ? "added or removed" : "chosen");
  }

  #enclose(outline: readonly number[], add: boolean): void {
    const { store, announce } = this.#context,
      scene = this.#points.scene();
    if (!scene) return;
    const found = within(scene, this.#points.count(), outline).map((row) => this.#example(row)),
      before = store.value;
    const ids = (split: Split, had: readonly number[]): number[] =>
      sorted([
        ...new Set([
          ...(add ? had : []),
          ...found.flatMap((example) => (example?.split === split ? example.id : [])),
        ]),
      ]);
    store.set({
      selected: ids("train", before.selected),
      selected_tests: ids("test", before.selected_tests),
    });
    announce(`${plural(found.length, "example")} ${add ? "added" : "selected"}`);
  }

  #step(x: -1 | 0 | 1, y: -1 | 0 | 1): void {
    const { store } = this.#context,
      scene = this.#points.scene(),
      count = this.#points.count();
    if (!scene) return;
    const first = this.#points.start(store.value),
      now = this.hovered(),
      from = now >= 0 ? now : first ? this.#points.row(first) : -1,
      { width, height } = this.#points.panel();
    const [fromX, fromY] = (from < 0 ? null : pixel(scene, from)) ?? [width / 2, height / 2];
    const row =
      from < 0
        ? nearest(scene, count, fromX, fromY, 1e4)
        : towards(scene, count, fromX, fromY, x, y, from);
    const example = this.#example(row),
      at = row < 0 ? null : pixel(scene, row);
    if (!example || !at) return;
    this.pointer = at;
    store.set({ hovered: example }, "passing");
    this.#tell(example, "");
  }

  #example(row: number): Example | null {
    return row < 0 ? null : this.#points.example(row);
  }

  #tell({ split, id }: Example, what: string): void {
    const face = this.#context.record.examples[split].byId(id);
    const name = face ? clipped(nameOf(face), 80) : `example ${id}`;
    this.#context.announce(`${split} ${name} ${what}`.trim());
  }
}

function sorted(ids: number[]): number[] {
  return ids.sort((a, b) => a - b);
}
