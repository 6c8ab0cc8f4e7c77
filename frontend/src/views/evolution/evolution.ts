// Feature evolution: train and test examples in a layer's feature space, scrubbed continuously.
import { indexNearest } from "../../data/epochs";
import { between, Projection } from "../../data/projection";
import { NotHere } from "../../data/source";
import type { Split } from "../../state/selection";
import { el, put, say } from "../../ui/dom";
import { clipped, count, moment, plural, signed } from "../../ui/format";
import { nameOf } from "../../ui/face";
import { Tip } from "../../ui/tip";
import { wordsFor } from "../../ui/words";
import type { Context, State, View, ViewKind } from "../../view";
import { around, baseAt, type Camera, fit, HOME, type Panel, WHOLE } from "./camera";
import { inked, lossOf, type Painting, painting } from "./colouring";
import { Controls } from "./controls";
import { gestures } from "./gestures";
import { LegendStrip, sign } from "./legend";
import { Material } from "./material";
import { Isolation } from "./isolation";
import { Names } from "./names";
import { Overlay, type Link } from "./overlay";
import { radiusFor } from "./painter";
import { type Rgb, rgb } from "./palette";
import { Stage } from "./stage";
import { Thumbs } from "./thumbs";
import { nearest, pixel, type Scene, towards, within } from "./where";

const LINKS = 6, WHILE_MOVING = 200_000;

class Evolution implements View {
  #context: Context;
  #controls: Controls; #stage: Stage; #overlay = new Overlay(); #names = new Names(); #tip = new Tip();
  #legend: LegendStrip;
  #material: Material;
  #title = el("bdi", { class: "dg-whole", role: "heading", "aria-level": 3, dir: "auto" }, "Feature space");
  #plot: HTMLElement; #where: HTMLElement; #message: HTMLElement; #count: HTMLButtonElement; #about = el("p", { class: "dg-small dg-about" });
  #panel: Panel = { width: 0, height: 0 };
  #camera: Camera = HOME;
  #scene: Scene | null = null;
  #inked: { key: string; of: readonly unknown[]; colours: Uint8Array; painting: Painting | null } = { key: "", of: [], colours: new Uint8Array(0), painting: null };
  #isolation: Isolation; #thumbs: Thumbs;
  #pointer: [number, number] | null = null;
  #state: State | null = null;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context; this.#isolation = new Isolation(context); this.#thumbs = new Thumbs(context);
    const { record } = context;
    // without scores there are no lines to explain
    this.#legend = new LegendStrip(sign("disc", "train"), sign("ring", "test"), ...(record.attrs.methods.length ? [sign("helps", ""), sign("hurts", "")] : []));
    this.#where = el("span", { class: "dg-muted dg-clip", "data-testid": "dg-evolution-where" });
    this.#count = el("button", { type: "button", class: "dg-count", hidden: true, title: "Zoom to what is selected", "aria-label": "Zoom to what is selected", "data-testid": "dg-zoom" });
    this.#count.addEventListener("click", context.guard(() => this.#zoom()), { signal: context.signal });
    this.#legend.pick = context.guard((code, add) => { const { projection } = this.#material, kinds = this.#inked.painting?.kinds; if (projection && kinds) this.#isolation.toggle(code, add, projection, kinds); });
    this.#material = new Material(context);
    this.#controls = new Controls(context, () => { this.#camera = HOME; context.redraw(); });
    this.#stage = new Stage(context, true);
    this.#message = el("p", { class: "dg-scatter-note", hidden: true });
    this.#plot = el("div", {
      class: "dg-scatter", tabindex: 0, role: "application", "aria-roledescription": "scatter plot", "data-testid": "dg-scatter",
      "aria-label": `Feature space. Arrow keys move between neighbouring examples, Enter chooses, Shift Enter adds to the selection, plus and minus zoom, 0 shows all.`,
    }, this.#stage.element, this.#thumbs.element, this.#overlay.element, this.#tip.element, this.#message);
    slot.append(el("div", { class: "dg-h2" }, this.#title, this.#controls.layer, this.#where, el("span", { class: "dg-push" }), this.#count), this.#controls.element, this.#plot, this.#legend.element, el("div", { class: "dg-spread dg-scatter-foot" }, this.#about, this.#controls.fit));
    context.onSize(this.#plot, (width, height) => { this.#panel = { ...this.#panel, width, height }; this.#stage.size(width, height); this.#overlay.size(width, height); context.redraw(); });
    gestures({
      area: this.#plot, tool: () => this.#controls.tool, panel: () => this.#panel, camera: () => this.#camera,
      setCamera: (camera) => { this.#camera = camera; context.redraw(); },
      hover: (x, y) => this.#hover(x, y), leave: () => { this.#pointer = null; this.#tip.hide(); context.store.set({ hovered: null }, "passing"); },
      click: (x, y, add) => this.#choose(this.#pick(x, y), add), choose: (add) => this.#choose(this.#hovered(), add),
      draft: (outline) => this.#overlay.draft(outline), enclose: (outline, add) => this.#enclose(outline, add), step: (x, y) => this.#step(x, y),
    }, context);
    if (!record.attrs.layers.length) this.#say("No features are recorded.");
  }

  update(state: State): void {
    this.#state = state;
    const { record } = this.#context, { selection, moving, theme } = state;
    this.#material.want(selection);
    const { projection, trouble } = this.#material;
    this.#controls.update(state, this.#material);
    if (!projection) { this.#say(trouble ? (trouble instanceof NotHere ? "This page was saved without this layer." : trouble.message) : "Reading positions …"); return; }
    const { before, after, share } = between(projection.epochs, selection.epoch), a = this.#material.positions(before), b = share ? this.#material.positions(after) : a;
    const shown = projection.epochs[indexNearest(projection.epochs, selection.epoch)] ?? 0;
    say(this.#title, this.#controls.layer ? "Layer" : `Layer ${clipped(projection.layer, 28)}`);
    const nearest = shown === record.epochs[indexNearest(record.epochs, selection.epoch)];
    say(this.#where, `at ${record.unit} ${moment(shown)}${nearest ? "" : ", the nearest with features"}`);
    this.#where.title = `${projection.layer}: ${projection.about}; between recorded ${record.unit}s positions are interpolated`;
    say(this.#about, projection.about);
    if (!a || !b) { put(this.#plot, { "data-waiting": true }); return; }
    put(this.#plot, { "data-waiting": null, "data-points": projection.count });
    this.#say("");
    if (!this.#panel.width || !this.#panel.height) return;
    this.#panel = { ...this.#panel, base: this.#controls.follow ? baseAt(projection.frames, before, after, share) : WHOLE };
    const scene = this.#scene = { a, b, share, fit: fit(this.#camera, this.#panel) };
    const grey = this.#ink(state, projection), every = moving ? Math.max(1, projection.count / WHILE_MOVING) : 1;
    this.#stage.draw({ scene, count: projection.count, colours: this.#inked.colours, radius: radiusFor(projection.count, this.#camera.zoom), every, grey, paper: rgb(theme.colour("bg")), moving });
    const words = wordsFor(record.light(selection.epoch, record.method(selection.method)?.id ?? null));
    this.#legend.name("helps", words.most.toLowerCase()); this.#legend.name("hurts", words.least.toLowerCase());
    const { painting: shownAs } = this.#inked;
    if (shownAs) this.#legend.update(shownAs.legend);
    this.#legend.press(this.#isolation.codes(selection));
    this.#controls.offerPictures(this.#thumbs.offered(projection));
    this.#thumbs.update(scene, projection, this.#inked.colours, this.#panel.width, this.#panel.height, this.#controls.pictures, moving);
    const spot = (split: Split, id: number | null): readonly [number, number] | null => { const row = id === null ? -1 : projection.row(split, id); return row < 0 ? null : pixel(scene, row); };
    const { hovered } = selection;
    const names = this.#names.at(scene, projection.count, (shownAs?.named && shownAs.kinds) || null);
    this.#overlay.update({ test: spot("test", selection.test), train: spot("train", selection.train), hover: hovered ? spot(hovered.split, hovered.id) : null, links: this.#links(projection, scene, selection.epoch), names }, theme);
    if (this.#pointer && !moving) this.#describe(...this.#pointer); else if (moving) this.#tip.hide();
    const chosen = selection.selected.length + selection.selected_tests.length;
    this.#count.hidden = !chosen;
    put(this.#count, { "aria-label": `${count(chosen)} selected: zoom to them` });
    say(this.#count, chosen ? `${count(chosen)} selected` : "");
  }

  /** Recolour where something the colours depend on changed; the colour of what is not chosen. */
  #ink({ selection, theme, moving }: State, projection: Projection): Rgb {
    const { record } = this.#context, material = this.#material, colour = this.#controls.colour(selection.colour, material);
    const timed = colour === "correct" || colour === "loss" || colour === "influence";
    const light = record.light(selection.epoch, record.method(selection.method)?.id ?? null);
    // recolouring a million points takes longer than a frame
    if (!(moving && timed && projection.count > WHILE_MOVING && this.#inked.key)) {
      const key = [projection.layer, colour, theme.dark, theme.colour("bg"), material.version, timed ? material.stamp(selection.epoch) : "", colour === "influence" ? light.level : ""].join("|"), of = [selection.selected, selection.selected_tests, colour === "influence" ? material.scores : null];
      if (key !== this.#inked.key || of.some((ids, i) => ids !== this.#inked.of[i])) {
        const painted = painting(colour, { projection, theme, moment: selection.epoch, train: material.train, test: material.test, scores: material.scores, rows: material.rows, words: wordsFor(light), classes: record.classes, groups: record.groups });
        this.#inked = { key, of, painting: painted, colours: inked(projection, painted.ink, this.#chosenRows(projection)) };
      }
    }
    return rgb(theme.colour("grey-point"));
  }

  #chosenRows(projection: Projection): Set<number> | null {
    const { selection } = this.#state!;
    if (!selection.selected.length && !selection.selected_tests.length) return null;
    return new Set([...selection.selected.map((id) => projection.row("train", id)), ...selection.selected_tests.map((id) => projection.row("test", id))]);
  }

  #links(projection: Projection, scene: Scene, when: number): Link[] {
    const { scores } = this.#material, links: Link[] = [];
    if (!scores?.epochs.length) return links;
    const epoch = indexNearest(scores.epochs, when), scale = scores.scale(epoch);
    for (const side of [1, 0] as const) for (const column of scores.top(epoch, side).slice(0, LINKS)) {
      const row = projection.row("train", scores.train[column]!), to = row < 0 ? null : pixel(scene, row);
      if (to) links.push({ to, helps: side === 0, strength: Math.abs(scores.score(epoch, column)) / (scale || 1) });
    }
    return links;
  }

  #pick(x: number, y: number): number {
    const { projection } = this.#material;
    return projection && this.#scene ? nearest(this.#scene, projection.count, x, y, radiusFor(projection.count, this.#camera.zoom) + 5) : -1;
  }
  #hovered(): number { const { hovered } = this.#context.store.value; return hovered ? this.#material.projection?.row(hovered.split, hovered.id) ?? -1 : -1; }
  #exampleOf(row: number): { split: Split; id: number } | null {
    const { projection } = this.#material;
    return projection && row >= 0 ? { split: projection.split[row] ? "test" : "train", id: projection.id[row]! } : null;
  }

  #hover(x: number, y: number): void {
    const row = this.#pick(x, y);
    this.#pointer = row < 0 ? null : [x, y];
    if (row < 0) this.#tip.hide();
    this.#plot.style.cursor = row < 0 ? "" : "pointer";
    this.#context.store.set({ hovered: this.#exampleOf(row) }, "passing");
  }

  #describe(x: number, y: number): void {
    const { record, redraw, report } = this.#context, { projection } = this.#material, row = this.#hovered();
    if (!projection || row < 0 || !this.#state) { this.#tip.hide(); return; }
    const test = projection.split[row] === 1, place = projection.place[row]!, examples = test ? record.examples.test : record.examples.train, face = examples.face(place);
    if (!face) examples.load([place]).then(redraw, report);
    const course = test ? this.#material.test : this.#material.train, when = this.#state.selection.epoch, at = course ? indexNearest(course.epochs, when) : 0;
    const lines = [`${test ? "test" : "train"} #${projection.id[row]!}`];
    const label = record.classes[projection.label?.[row] ?? -1], group = record.groups[projection.group?.[row] ?? -1];
    if (label !== undefined) lines.push(`label ${clipped(label, 40)}`);
    if (group !== undefined) lines.push(`group ${clipped(group, 40)}`);
    if (course) { const margin = course.margin(at, place); lines.push(`${course.correct(at, place) ? "right" : "wrong"}${Number.isFinite(margin) ? `, loss ${Number(lossOf(margin).toPrecision(2))}` : ""}`); }
    if (!test) { const score = this.#scoreOf(place, when); if (Number.isFinite(score)) lines.push(`score ${signed(score)}`); }
    this.#tip.show(x, y, this.#panel.width, this.#panel.height, face ?? undefined, lines);
  }

  /** A training example's score where it is known to the last digit: among the top ones, or all rows are here. */
  #scoreOf(place: number, when: number): number {
    const { scores, rows } = this.#material;
    if (!scores?.epochs.length) return NaN;
    const epoch = indexNearest(scores.epochs, when);
    if (rows) return rows.values[epoch * rows.count + place]! * scores.scale(epoch);
    const column = scores.position.indexOf(place as never);
    return scores.top(epoch, 0).includes(column) || scores.top(epoch, 1).includes(column) ? scores.score(epoch, column) : NaN;
  }

  #choose(row: number, add: boolean): void {
    const { store, announce, record } = this.#context, example = this.#exampleOf(row);
    if (!example) { if (!add) store.set({ selected: [], selected_tests: [] }); return; }
    if (add) {
      const key = example.split === "test" ? "selected_tests" : "selected", had = store.value[key];
      store.set({ [key]: had.includes(example.id) ? had.filter((id) => id !== example.id) : [...had, example.id].sort((p, q) => p - q) });
    } else store.set(example.split === "test" ? { test: example.id } : { train: example.id });
    const face = record.examples[example.split].byId(example.id);
    announce(`${example.split} example ${face ? clipped(nameOf(face), 80) : example.id} ${add ? "added or removed" : "chosen"}`);
  }

  #enclose(outline: readonly number[], add: boolean): void {
    const { store, announce } = this.#context, { projection } = this.#material;
    if (!projection || !this.#scene) return;
    const found = within(this.#scene, projection.count, outline), before = store.value;
    const ids = (split: 0 | 1, had: readonly number[]): number[] => [...new Set([...(add ? had : []), ...found.filter((row) => projection.split[row] === split).map((row) => projection.id[row]!)])].sort((p, q) => p - q);
    store.set({ selected: ids(0, before.selected), selected_tests: ids(1, before.selected_tests) });
    announce(`${plural(found.length, "example")} ${add ? "added" : "selected"}`);
  }

  #zoom(): void {
    const { projection } = this.#material, scene = this.#scene, rows = projection ? this.#chosenRows(projection) : null;
    if (!scene || !rows) return;
    this.#camera = around(this.#camera, [...rows].flatMap((row) => (row < 0 ? [] : pixel(scene, row) ?? [])), this.#panel);
    this.#context.redraw();
  }

  #step(x: -1 | 0 | 1, y: -1 | 0 | 1): void {
    const { projection } = this.#material, scene = this.#scene, { store, announce, record } = this.#context;
    if (!projection || !scene) return;
    const now = this.#hovered(), chosen = store.value.test === null ? -1 : projection.row("test", store.value.test), from = pixel(scene, now >= 0 ? now : chosen) ?? [this.#panel.width / 2, this.#panel.height / 2];
    const row = now < 0 && chosen < 0 ? nearest(scene, projection.count, ...(from as [number, number]), 1e4) : towards(scene, projection.count, from[0], from[1], x, y, now);
    const example = this.#exampleOf(row), at = row < 0 ? null : pixel(scene, row);
    if (!example || !at) return;
    this.#pointer = [at[0], at[1]];
    store.set({ hovered: example }, "passing");
    const face = record.examples[example.split].byId(example.id);
    announce(`${example.split} ${face ? clipped(nameOf(face), 80) : `example ${example.id}`}`);
  }

  #say(text: string): void { this.#message.hidden = !text; say(this.#message, text); }
  destroy(): void { this.#stage.destroy(); this.#material.destroy(); }
}

export const evolution: ViewKind = { name: "evolution", title: "Feature space", slot: "right", has: (record) => record.attrs.layers.length > 0, lacks: "No layer's features are in this record.", make: (context, slot) => new Evolution(context, slot) };
