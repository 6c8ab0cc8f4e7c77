// Pictures among the points: as many as lie beside each other, each framed in its point's colour.
import type { Picture } from "../../data/examples";
import type { Projection } from "../../data/projection";
import { el, put } from "../../ui/dom";
import { paint } from "../../ui/face";
import type { Context } from "../../view";
import { GREY } from "./painter";
import { pixel, type Scene } from "./where";

const MOST = 400,
  SIDE = 24,
  FRAME = 1.5;
/** Of more examples than this no pictures are offered: they would have to be fetched from all over the record. */
export const OFFERED = 20_000;

/** Rows in their order, of which no two are closer than `side` along both axes. Pure. */
export function spread(
  scene: Scene,
  count: number,
  side: number,
  width: number,
  height: number,
  wanted: (row: number) => boolean,
): number[] {
  const taken = new Map<string, (readonly [number, number])[]>(),
    out: number[] = [];
  for (let row = 0; row < count && out.length < MOST; row++) {
    const at = wanted(row) ? pixel(scene, row) : null;
    if (
      !at ||
      at[0] < side / 2 ||
      at[1] < side / 2 ||
      at[0] > width - side / 2 ||
      at[1] > height - side / 2
    )
      continue;
    const i = Math.floor(at[0] / side),
      j = Math.floor(at[1] / side);
    let free = true;
    for (let di = -1; di <= 1 && free; di++)
      for (let dj = -1; dj <= 1 && free; dj++)
        free = !taken
          .get(`${i + di}/${j + dj}`)
          ?.some(([x, y]) => Math.abs(x - at[0]) < side && Math.abs(y - at[1]) < side);
    if (!free) continue;
    const key = `${i}/${j}`;
    taken.set(key, [...(taken.get(key) ?? []), at]);
    out.push(row);
  }
  return out;
}

export class Thumbs {
  readonly element = el("canvas", { class: "dg-thumbs", "aria-hidden": "true", hidden: true });
  #context: Context;
  #rows: number[] = [];
  #tiles = new Map<Picture, HTMLCanvasElement>();

  constructor(context: Context) {
    this.#context = context;
  }

  /** Whether this run has pictures to show. */
  offered(projection: Projection): boolean {
    const { train, test } = this.#context.record.examples;
    return projection.count <= OFFERED && Boolean(train.face(0)?.picture ?? test.face(0)?.picture);
  }

  /** While moving the same pictures go with their points; who is shown is settled at rest. */
  update(
    scene: Scene,
    projection: Projection,
    colours: Uint8Array,
    width: number,
    height: number,
    on: boolean,
    moving: boolean,
  ): void {
    this.element.hidden = !on;
    if (!on) return;
    const { record, redraw, report } = this.#context,
      ratio = Math.min(3, devicePixelRatio || 1),
      side = SIDE;
    const w = Math.round(width * ratio),
      h = Math.round(height * ratio);
    if (this.element.width !== w || this.element.height !== h)
      put(this.element, { width: w, height: h });
    const paper = this.element.getContext("2d");
    if (!paper) return;
    if (!moving || !this.#rows.length)
      this.#rows = spread(
        scene,
        projection.count,
        side + 4,
        width,
        height,
        (row) => (colours[4 * row + 3]! & GREY) === 0,
      );
    paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    paper.clearRect(0, 0, width, height);
    const missing: [number[], number[]] = [[], []];
    for (const row of this.#rows) {
      const at = pixel(scene, row),
        split = projection.split[row] as 0 | 1,
        place = projection.place[row]!,
        face = record.examples[split ? "test" : "train"].face(place);
      if (!face) missing[split].push(place);
      if (!at || !face?.picture) continue;
      const { picture } = face,
        scale = (side - 2 * FRAME) / Math.max(picture.width, picture.height),
        x = at[0] - side / 2,
        y = at[1] - side / 2;
      paper.fillStyle = `rgb(${colours[4 * row]},${colours[4 * row + 1]},${colours[4 * row + 2]})`;
      paper.fillRect(x, y, side, side);
      paper.imageSmoothingEnabled = Math.max(picture.width, picture.height) > 48;
      paper.drawImage(
        this.#tile(picture),
        at[0] - (picture.width * scale) / 2,
        at[1] - (picture.height * scale) / 2,
        picture.width * scale,
        picture.height * scale,
      );
    }
    (["train", "test"] as const).forEach((split, i) => {
      if (missing[i]!.length) record.examples[split].load(missing[i]!).then(redraw, report);
    });
  }

  #tile(picture: Picture): HTMLCanvasElement {
    let tile = this.#tiles.get(picture);
    if (!tile) {
      if (this.#tiles.size > 4 * MOST) this.#tiles.clear();
      paint((tile = el("canvas")), picture);
      this.#tiles.set(picture, tile);
    }
    return tile;
  }
}
