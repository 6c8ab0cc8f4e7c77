// The dynamics map: dataset cartography of the training examples over the whole run.
import type { Blocks } from "../../data/blocks";
import { ADVICE } from "../../ui/advice";
import { Waiting } from "../../ui/await";
import { menu } from "../../ui/controls";
import { el, say, svg } from "../../ui/dom";
import { clipped, count, magnitude, moment, percent, plural } from "../../ui/format";
import { MiniList } from "../../ui/mini";
import { Tip } from "../../ui/tip";
import type { Context, State, View, ViewKind } from "../../view";
import { type Camera, fit, HOME, type Panel } from "../evolution/camera";
import { LegendStrip } from "../evolution/legend";
import { Overlay } from "../evolution/overlay";
import { radiusFor } from "../evolution/painter";
import { rgb } from "../evolution/palette";
import { Stage } from "../evolution/stage";
import { Touch } from "../evolution/touch";
import { pixel, type Scene } from "../evolution/where";
import { drawAxes } from "./axes";
import { COLOURS, mapPainting, REGIONS } from "./painting";

const SUSPECTS = 7;

class DynamicsMap implements View {
  #context: Context;
  #waiting: Waiting;
  #stage: Stage;
  #overlay = new Overlay();
  #tip = new Tip();
  #legend = new LegendStrip();
  #plot: HTMLElement;
  #axes: SVGSVGElement;
  #summary: HTMLElement;
  #colour: HTMLSelectElement;
  #suspects: MiniList;
  #body: HTMLElement;
  #blocks: Blocks | null = null;
  #spots: Uint16Array = new Uint16Array(0);
  #count = 0;
  #rows = new Map<number, number>();
  #scene: Scene | null = null;
  #size: [number, number] = [0, 0];
  #camera: Camera = HOME;
  #inked: { of: readonly unknown[]; colours: Uint8Array } = { of: [], colours: new Uint8Array(0) };
  #touch: Touch;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { signal, guard, redraw } = context;
    this.#waiting = new Waiting(context);
    this.#stage = new Stage(context, false);
    this.#axes = svg("svg", { class: "dg-map-axes", "aria-hidden": "true" });
    this.#plot = el(
      "div",
      {
        class: "dg-scatter dg-map-plot",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "scatter plot",
        "data-testid": "dg-map",
        "aria-label":
          "Training examples by variability and confidence. Arrow keys move between neighbours, Enter chooses, Shift Enter adds to the selection.",
      },
      this.#stage.element,
      this.#overlay.element,
      this.#tip.element,
    );
    this.#colour = menu(
      "Colour the map by",
      COLOURS.map(([value, text]) => ({ value, text: `colour by ${text}` })),
      "dg-map-colour",
    );
    this.#colour.addEventListener("change", guard(redraw), { signal });
    this.#summary = el("p", { class: "dg-panel-note dg-small" });
    this.#suspects = new MiniList(
      context,
      "Training examples with the highest mean loss",
      "dg-suspects",
      false,
    );
    this.#body = el(
      "div",
      { class: "dg-map" },
      el(
        "div",
        { class: "dg-map-left" },
        el("div", { class: "dg-map-head" }, this.#colour, this.#legend.element),
        el("div", { class: "dg-map-frame" }, this.#axes, this.#plot),
      ),
      el(
        "div",
        { class: "dg-map-list" },
        el(
          "div",
          { class: "dg-h3" },
          "Highest mean loss ",
          el("span", { class: "dg-muted" }, "suspected mislabels first"),
        ),
        this.#suspects.element,
        this.#summary,
      ),
    );
    slot.append(this.#waiting.element, this.#body);
    context.onSize(this.#plot, (width, height) => {
      this.#size = [width, height];
      this.#stage.size(width, height);
      this.#overlay.size(width, height);
      redraw();
    });
    this.#touch = new Touch(context, {
      area: this.#plot,
      scene: () => this.#scene,
      count: () => this.#count,
      example: (row) => ({ split: "train", id: this.#id(row) }),
      row: ({ split, id }) => (split === "train" ? (this.#rows.get(id) ?? -1) : -1),
      start: ({ train }) => (train === null ? null : { split: "train", id: train }),
      tool: () => "lasso",
      panel: () => this.#panel(),
      camera: () => this.#camera,
      setCamera: (camera) => {
        this.#camera = camera;
        redraw();
      },
      draft: (outline) => this.#overlay.draft(outline),
      left: () => this.#tip.hide(),
    });
  }

  #panel(): Panel {
    return { width: this.#size[0], height: this.#size[1], fill: true };
  }
  #id(row: number): number {
    return this.#blocks!.numbers("id")[row]!;
  }

  update(state: State): void {
    const blocks = this.#waiting.take("map/train");
    this.#body.hidden = !blocks;
    if (!blocks) return;
    if (blocks !== this.#blocks) this.#open(blocks);
    const { selection, theme, moving } = state,
      [width, height] = this.#size,
      { record } = this.#context;
    this.#suspects.update(
      Array.from(blocks.numbers("suspects"))
        .slice(0, SUSPECTS)
        .map((row) => this.#item(row)),
      selection.train,
      selection.epoch,
    );
    if (!width || !height) return;
    const scene = (this.#scene = {
      a: this.#spots,
      b: this.#spots,
      share: 0,
      fit: fit(this.#camera, this.#panel()),
    });
    const { ink, legend } = mapPainting(
      this.#colour.value,
      blocks,
      theme,
      record.last,
      record.unit,
    );
    const of = [this.#colour.value, theme, selection.selected];
    if (of.some((part, i) => part !== this.#inked.of[i]))
      this.#inked = { of, colours: this.#ink(ink, selection.selected) };
    this.#legend.update(legend);
    drawAxes(this.#axes, blocks.numbers("bounds"), scene.fit, width, height);
    this.#stage.draw({
      scene,
      count: this.#count,
      colours: this.#inked.colours,
      radius: radiusFor(this.#count, this.#camera.zoom),
      every: 1,
      grey: rgb(theme.colour("grey-point")),
      paper: rgb(theme.colour("bg")),
      moving,
    });
    const spot = (id: number | null): readonly [number, number] | null => {
      const row = id === null ? undefined : this.#rows.get(id);
      return row === undefined ? null : pixel(scene, row);
    };
    this.#overlay.update(
      {
        test: null,
        train: spot(selection.train),
        hover: selection.hovered?.split === "train" ? spot(selection.hovered.id) : null,
        links: [],
        names: [],
      },
      theme,
    );
    this.#describe(this.#touch.hovered());
  }

  #open(blocks: Blocks): void {
    this.#blocks = blocks;
    this.#spots = blocks.numbers("position") as Uint16Array;
    const ids = blocks.numbers("id");
    this.#count = ids.length;
    this.#rows = new Map(Array.from(ids, (id, row) => [id, row]));
    for (const option of this.#colour.options)
      option.disabled = option.value === "memorization" && !blocks.has("memorization");
    const tally = (name: string, is: (value: number) => boolean): number => {
      const values = blocks.numbers(name);
      let n = 0;
      for (let row = 0; row < values.length; row++) if (is(values[row]!)) n++;
      return n;
    };
    const sizes = REGIONS.map((_, code) => tally("region", (region) => region === code)),
      never = tally("first_learned", (at) => at < 0),
      forgotten = tally("forgetting", (times) => times > 0);
    say(
      this.#summary,
      `Over ${plural(blocks.numbers("n_epochs")[0] ?? 0, `recorded ${this.#context.record.unit}`)}: ${REGIONS.map((name, code) => `${count(sizes[code]!)} ${name}`).join(", ")}; ${count(forgotten)} forgotten at least once, ${never ? `${count(never)} never learned` : "none never learned"}.`,
    );
  }

  #ink(
    ink: (row: number) => readonly [number, number, number] | null,
    selected: readonly number[],
  ): Uint8Array {
    const out = new Uint8Array(this.#count * 4),
      chosen = selected.length ? new Set(selected) : null,
      ids = this.#blocks!.numbers("id");
    for (let row = 0; row < this.#count; row++) {
      const colour = ink(row);
      if (!colour || (chosen && !chosen.has(ids[row]!))) {
        out[4 * row + 3] = 2;
        continue;
      }
      out.set(colour.map(Math.round), 4 * row);
    }
    return out;
  }

  #item(row: number): { id: number; place: number; value: string; note: string } {
    const blocks = this.#blocks!,
      learned = blocks.numbers("first_learned")[row]!,
      { record } = this.#context,
      face = record.examples.train.face(row);
    const flag = face?.flags.find((name) => name !== "never learned");
    return {
      id: this.#id(row),
      place: row,
      value: `${magnitude(blocks.numbers("mean_loss")[row]!)} nats`,
      note: `${face?.label ? `${clipped(face.label, 20)} · ` : ""}${learned < 0 ? "never learned" : `learned at ${moment(learned)}`}${flag ? ` · ${flag}` : ""}`,
    };
  }

  #describe(row: number): void {
    const blocks = this.#blocks!,
      { record } = this.#context;
    const at = this.#touch.pointer;
    if (row < 0 || !at) {
      this.#tip.hide();
      return;
    }
    const face = record.examples.train.face(row),
      learned = blocks.numbers("first_learned")[row]!,
      times = blocks.numbers("forgetting")[row]!;
    if (!face) record.examples.train.load([row]).then(this.#context.redraw, this.#context.report);
    this.#tip.show(...at, ...this.#size, face ?? undefined, [
      `#${this.#id(row)}`,
      ...(face?.label ? [clipped(face.label, 40)] : []),
      REGIONS[blocks.numbers("region")[row]!] ?? "not seen",
      `right ${percent(blocks.numbers("correctness")[row]!)} of the time`,
      times ? `forgotten ${plural(times, "time")}` : "never forgotten",
      learned < 0 ? "never learned" : `learned at ${moment(learned)}`,
    ]);
  }

  destroy(): void {
    this.#stage.destroy();
    this.#waiting.destroy();
  }
}

export const dynamicsMap: ViewKind = {
  name: "map",
  title: "Dynamics map",
  slot: "tabs",
  has: (record) => record.attrs.has_map === true,
  lacks: `The map needs each training example's course: record it with ${ADVICE.record}.`,
  make: (context, slot) => new DynamicsMap(context, slot),
};
