// The dynamics map: dataset cartography of the training examples over the whole run.
import type { Blocks } from "../../data/blocks";
import { ADVICE } from "../../ui/advice";
import { Waiting } from "../../ui/await";
import { menu } from "../../ui/controls";
import { el, put, say, svg } from "../../ui/dom";
import { nameOf } from "../../ui/face";
import { clipped, count, magnitude, moment, percent, plural } from "../../ui/format";
import { MiniList } from "../../ui/mini";
import { Tip } from "../../ui/tip";
import type { Context, State, View, ViewKind } from "../../view";
import { type Camera, fit, HOME, type Panel } from "../evolution/camera";
import { gestures } from "../evolution/gestures";
import { LegendStrip } from "../evolution/legend";
import { Overlay } from "../evolution/overlay";
import { radiusFor } from "../evolution/painter";
import { rgb } from "../evolution/palette";
import { Stage } from "../evolution/stage";
import { nearest, pixel, type Scene, towards, within } from "../evolution/where";
import { ticks } from "../timeline/axis";
import { COLOURS, mapPainting, REGIONS } from "./painting";

const SUSPECTS = 7;

class DynamicsMap implements View {
  #context: Context; #waiting: Waiting;
  #stage: Stage; #overlay = new Overlay(); #tip = new Tip(); #legend = new LegendStrip();
  #plot: HTMLElement; #axes: SVGSVGElement; #summary: HTMLElement; #colour: HTMLSelectElement; #suspects: MiniList; #body: HTMLElement;
  #blocks: Blocks | null = null; #spots: Uint16Array = new Uint16Array(0); #count = 0; #rows = new Map<number, number>();
  #scene: Scene | null = null; #size: [number, number] = [0, 0]; #camera: Camera = HOME;
  #inked: { of: readonly unknown[]; colours: Uint8Array } = { of: [], colours: new Uint8Array(0) };
  #pointer: [number, number] | null = null;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    const { store, signal, guard, redraw } = context;
    this.#waiting = new Waiting(context);
    this.#stage = new Stage(context, false);
    this.#axes = svg("svg", { class: "dg-map-axes", "aria-hidden": "true" });
    this.#plot = el("div", {
      class: "dg-scatter dg-map-plot", tabindex: 0, role: "application", "aria-roledescription": "scatter plot", "data-testid": "dg-map",
      "aria-label": "Training examples by variability and confidence. Arrow keys move between neighbours, Enter chooses, Shift Enter adds to the selection.",
    }, this.#stage.element, this.#overlay.element, this.#tip.element);
    this.#colour = menu("Colour the map by", COLOURS.map(([value, text]) => ({ value, text: `colour by ${text}` })), "dg-map-colour");
    this.#colour.addEventListener("change", guard(redraw), { signal });
    this.#summary = el("p", { class: "dg-panel-note dg-small" });
    this.#suspects = new MiniList(context, "Training examples with the highest mean loss", "dg-suspects", false);
    this.#body = el("div", { class: "dg-map" },
      el("div", { class: "dg-map-left" }, el("div", { class: "dg-map-head" }, this.#colour, this.#legend.element), el("div", { class: "dg-map-frame" }, this.#axes, this.#plot)),
      el("div", { class: "dg-map-list" }, el("div", { class: "dg-h3" }, "Highest mean loss ", el("span", { class: "dg-muted" }, "suspected mislabels first")), this.#suspects.element, this.#summary));
    slot.append(this.#waiting.element, this.#body);
    context.onSize(this.#plot, (width, height) => { this.#size = [width, height]; this.#stage.size(width, height); this.#overlay.size(width, height); redraw(); });
    gestures({
      area: this.#plot, tool: () => "lasso", panel: () => this.#panel(), camera: () => this.#camera,
      setCamera: (camera) => { this.#camera = camera; redraw(); },
      hover: (x, y) => { const row = this.#pick(x, y); this.#pointer = row < 0 ? null : [x, y]; this.#plot.style.cursor = row < 0 ? "" : "pointer"; store.set({ hovered: row < 0 ? null : { split: "train", id: this.#id(row) } }, "passing"); },
      leave: () => { this.#pointer = null; store.set({ hovered: null }, "passing"); },
      click: (x, y, add) => this.#choose(this.#pick(x, y), add), choose: (add) => this.#choose(this.#rows.get(store.value.hovered?.id ?? NaN) ?? -1, add),
      draft: (outline) => this.#overlay.draft(outline), enclose: (outline, add) => this.#enclose(outline, add),
      step: (x, y) => this.#step(x, y),
    }, context);
  }

  #panel(): Panel { return { width: this.#size[0], height: this.#size[1], fill: true }; }
  #id(row: number): number { return this.#blocks!.numbers("id")[row]!; }
  #pick(x: number, y: number): number { return this.#scene ? nearest(this.#scene, this.#count, x, y, radiusFor(this.#count, this.#camera.zoom) + 5) : -1; }

  update(state: State): void {
    const blocks = this.#waiting.take("map/train");
    this.#body.hidden = !blocks;
    if (!blocks) return;
    if (blocks !== this.#blocks) this.#open(blocks);
    const { selection, theme, moving } = state, [width, height] = this.#size, { record } = this.#context;
    this.#suspects.update(Array.from(blocks.numbers("suspects")).slice(0, SUSPECTS).map((row) => this.#item(row)), selection.train, selection.epoch);
    if (!width || !height) return;
    const scene = this.#scene = { a: this.#spots, b: this.#spots, share: 0, fit: fit(this.#camera, this.#panel()) };
    const { ink, legend } = mapPainting(this.#colour.value, blocks, theme, record.last, record.unit);
    const of = [this.#colour.value, theme, selection.selected];
    if (of.some((part, i) => part !== this.#inked.of[i])) this.#inked = { of, colours: this.#ink(ink, selection.selected) };
    this.#legend.update(legend);
    this.#drawAxes(scene, width, height);
    this.#stage.draw({ scene, count: this.#count, colours: this.#inked.colours, radius: radiusFor(this.#count, this.#camera.zoom), every: 1, grey: rgb(theme.colour("grey-point")), paper: rgb(theme.colour("bg")), moving });
    const spot = (id: number | null): readonly [number, number] | null => { const row = id === null ? undefined : this.#rows.get(id); return row === undefined ? null : pixel(scene, row); };
    this.#overlay.update({ test: null, train: spot(selection.train), hover: selection.hovered?.split === "train" ? spot(selection.hovered.id) : null, links: [], names: [] }, theme);
    this.#describe(selection.hovered?.split === "train" ? this.#rows.get(selection.hovered.id) ?? -1 : -1);
  }

  #open(blocks: Blocks): void {
    this.#blocks = blocks;
    this.#spots = blocks.numbers("position") as Uint16Array;
    const ids = blocks.numbers("id");
    this.#count = ids.length; this.#rows = new Map(Array.from(ids, (id, row) => [id, row]));
    for (const option of this.#colour.options) option.disabled = option.value === "memorization" && !blocks.has("memorization");
    const tally = (name: string, is: (value: number) => boolean): number => { const values = blocks.numbers(name); let n = 0; for (let row = 0; row < values.length; row++) if (is(values[row]!)) n++; return n; };
    const sizes = REGIONS.map((_, code) => tally("region", (region) => region === code)), never = tally("first_learned", (at) => at < 0), forgotten = tally("forgetting", (times) => times > 0);
    say(this.#summary, `Over ${plural(blocks.numbers("n_epochs")[0] ?? 0, `recorded ${this.#context.record.unit}`)}: ${REGIONS.map((name, code) => `${count(sizes[code]!)} ${name}`).join(", ")}; ${count(forgotten)} forgotten at least once, ${never ? `${count(never)} never learned` : "none never learned"}.`);
  }

  #ink(ink: (row: number) => readonly [number, number, number] | null, selected: readonly number[]): Uint8Array {
    const out = new Uint8Array(this.#count * 4), chosen = selected.length ? new Set(selected) : null, ids = this.#blocks!.numbers("id");
    for (let row = 0; row < this.#count; row++) {
      const colour = ink(row);
      if (!colour || (chosen && !chosen.has(ids[row]!))) { out[4 * row + 3] = 2; continue; }
      out.set(colour.map(Math.round), 4 * row);
    }
    return out;
  }

  #item(row: number): { id: number; place: number; value: string; note: string } {
    const blocks = this.#blocks!, learned = blocks.numbers("first_learned")[row]!, { record } = this.#context, face = record.examples.train.face(row);
    const flag = face?.flags.find((name) => name !== "never learned");
    return { id: this.#id(row), place: row, value: `${magnitude(blocks.numbers("mean_loss")[row]!)} nats`, note: `${face ? `label ${clipped(face.label, 20)} · ` : ""}${learned < 0 ? "never learned" : `learned at ${moment(learned)}`}${flag ? ` · ${flag}` : ""}` };
  }

  #drawAxes({ fit: f }: Scene, width: number, height: number): void {
    const parts: SVGElement[] = [], most = 65534;
    const [left, right, low, high] = this.#blocks!.numbers("bounds") as unknown as [number, number, number, number];
    for (const value of ticks(low, high, 5)) {
      const y = ((value - low) / (high - low)) * most * f.ky + f.dy + 6;
      if (y > 0 && y < height + 10) parts.push(svg("line", { class: "dg-grid", x1: 52, x2: width + 52, y1: y, y2: y }), svg("text", { x: 46, y: y + 4, "text-anchor": "end" }, String(value)));
    }
    for (const value of ticks(left, right, Math.max(2, Math.floor(width / 90)))) {
      const x = ((value - left) / (right - left)) * most * f.kx + f.dx + 52;
      if (x > 50 && x < width + 54) parts.push(svg("line", { class: "dg-grid", x1: x, x2: x, y1: 6, y2: height + 6 }), svg("text", { x, y: height + 22, "text-anchor": "middle" }, String(value)));
    }
    parts.push(svg("text", { x: 52 + width / 2, y: height + 37, "text-anchor": "middle", class: "dg-axis-name" }, "variability: how much the probability of its label wavers"),
      svg("text", { transform: `translate(11,${6 + height / 2}) rotate(-90)`, "text-anchor": "middle", class: "dg-axis-name" }, "confidence"));
    put(this.#axes, { viewBox: `0 0 ${width + 56} ${height + 42}`, width: width + 56, height: height + 42 });
    this.#axes.replaceChildren(...parts);
  }

  #describe(row: number): void {
    const blocks = this.#blocks!, { record } = this.#context;
    if (row < 0 || !this.#pointer) { this.#tip.hide(); return; }
    const face = record.examples.train.face(row), learned = blocks.numbers("first_learned")[row]!, times = blocks.numbers("forgetting")[row]!;
    if (!face) record.examples.train.load([row]).then(this.#context.redraw, this.#context.report);
    this.#tip.show(...this.#pointer, ...this.#size, face ?? undefined, [`#${this.#id(row)}`, ...(face ? [`label ${clipped(face.label, 40)}`] : []),
      REGIONS[blocks.numbers("region")[row]!] ?? "not seen", `right ${percent(blocks.numbers("correctness")[row]!)} of the time`, times ? `forgotten ${plural(times, "time")}` : "never forgotten", learned < 0 ? "never learned" : `learned at ${moment(learned)}`]);
  }

  #choose(row: number, add: boolean): void {
    const { store, announce, record } = this.#context;
    if (row < 0) { if (!add) store.set({ selected: [], selected_tests: [] }); return; }
    const id = this.#id(row), had = store.value.selected, face = record.examples.train.face(row);
    store.set(add ? { selected: had.includes(id) ? had.filter((other) => other !== id) : [...had, id].sort((a, b) => a - b) } : { train: id });
    announce(`training example ${face ? clipped(nameOf(face), 80) : id} ${add ? "added or removed" : "chosen"}`);
  }
  #enclose(outline: readonly number[], add: boolean): void {
    const { store, announce } = this.#context, found = this.#scene ? within(this.#scene, this.#count, outline).map((row) => this.#id(row)) : [];
    store.set({ selected: [...new Set([...(add ? store.value.selected : []), ...found])].sort((a, b) => a - b), ...(add ? {} : { selected_tests: [] }) });
    announce(`${plural(found.length, "training example")} ${add ? "added" : "selected"}`);
  }
  #step(x: -1 | 0 | 1, y: -1 | 0 | 1): void {
    const { store, announce, record } = this.#context, scene = this.#scene;
    if (!scene) return;
    const now = this.#rows.get(store.value.hovered?.id ?? store.value.train ?? NaN) ?? -1, from = (now >= 0 ? pixel(scene, now) : null) ?? [this.#size[0] / 2, this.#size[1] / 2];
    const row = now >= 0 ? towards(scene, this.#count, from[0]!, from[1]!, x, y, now) : nearest(scene, this.#count, from[0]!, from[1]!, 1e4), at = row < 0 ? null : pixel(scene, row);
    if (!at) return;
    this.#pointer = at;
    store.set({ hovered: { split: "train", id: this.#id(row) } }, "passing");
    const face = record.examples.train.face(row);
    announce(face ? clipped(nameOf(face), 80) : `example ${this.#id(row)}`);
  }

  destroy(): void { this.#stage.destroy(); this.#waiting.destroy(); }
}

export const dynamicsMap: ViewKind = {
  name: "map", title: "Dynamics map", slot: "tabs", has: (record) => record.attrs.has_map === true,
  lacks: `The map needs each training example's course: record it with ${ADVICE.record}.`,
  make: (context, slot) => new DynamicsMap(context, slot),
};
