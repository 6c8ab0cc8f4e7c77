// Feature evolution: train and test examples in a layer's feature space, scrubbed continuously.

import { indexNearest } from "../../data/epochs";
import { between, type Projection } from "../../data/projection";
import { NotHere } from "../../data/source";
import { type Split, testOf } from "../../state/selection";
import { el, put, say } from "../../ui/dom";
import { clipped, count, moment } from "../../ui/format";
import { Tip } from "../../ui/tip";
import { wordsFor } from "../../ui/words";
import type { Context, State, View, ViewKind } from "../../view";
import { around, baseAt, type Camera, fit, HOME, type Panel, WHOLE } from "./camera";
import { Controls } from "./controls";
import { factsOf } from "./facts";
import { chosenRows, Inking } from "./inking";
import { Isolation } from "./isolation";
import { LegendStrip, sign } from "./legend";
import { Material } from "./material";
import { Names } from "./names";
import { type Link, Overlay } from "./overlay";
import { radiusFor } from "./painter";
import { rgb } from "./palette";
import { Stage } from "./stage";
import { Thumbs } from "./thumbs";
import { Touch } from "./touch";
import { pixel, type Scene } from "./where";

const LINKS = 6,
  WHILE_MOVING = 200_000;

class Evolution implements View {
  #context: Context;
  #controls: Controls;
  #stage: Stage;
  #overlay = new Overlay();
  #names = new Names();
  #tip = new Tip();
  #legend: LegendStrip;
  #material: Material;
  #title = el(
    "bdi",
    { class: "dg-whole", role: "heading", "aria-level": 3, dir: "auto" },
    "Feature space",
  );
  #plot: HTMLElement;
  #where: HTMLElement;
  #message: HTMLElement;
  #count: HTMLButtonElement;
  #about = el("p", { class: "dg-small dg-about" });
  #panel: Panel = { width: 0, height: 0 };
  #camera: Camera = HOME;
  #scene: Scene | null = null;
  #inking: Inking;
  #isolation: Isolation;
  #thumbs: Thumbs;
  #touch: Touch;

  constructor(context: Context, slot: HTMLElement) {
    this.#context = context;
    this.#inking = new Inking(context);
    this.#isolation = new Isolation(context);
    this.#thumbs = new Thumbs(context);
    const { record } = context;
    // without scores there are no lines to explain
    this.#legend = new LegendStrip(
      sign("disc", "train"),
      sign("ring", "test"),
      ...(record.attrs.methods.length ? [sign("helps", ""), sign("hurts", "")] : []),
    );
    this.#where = el("span", { class: "dg-muted dg-clip", "data-testid": "dg-evolution-where" });
    this.#count = el("button", {
      type: "button",
      class: "dg-count",
      hidden: true,
      title: "Zoom to what is selected",
      "aria-label": "Zoom to what is selected",
      "data-testid": "dg-zoom",
    });
    this.#count.addEventListener(
      "click",
      context.guard(() => this.#zoom()),
      { signal: context.signal },
    );
    this.#legend.pick = context.guard((code, add) => {
      const { projection } = this.#material,
        kinds = this.#inking.painting?.kinds;
      if (projection && kinds) this.#isolation.toggle(code, add, projection, kinds);
    });
    this.#material = new Material(context);
    this.#controls = new Controls(context, () => {
      this.#camera = HOME;
      context.redraw();
    });
    this.#stage = new Stage(context, true);
    this.#message = el("p", { class: "dg-scatter-note", hidden: true });
    this.#plot = el(
      "div",
      {
        class: "dg-scatter",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "scatter plot",
        "data-testid": "dg-scatter",
        "aria-label": `Feature space. Arrow keys move between neighbouring examples, Enter chooses, Shift Enter adds to the selection, plus and minus zoom, 0 shows all.`,
      },
      this.#stage.element,
      this.#thumbs.element,
      this.#overlay.element,
      this.#tip.element,
      this.#message,
    );
    slot.append(
      el(
        "div",
        { class: "dg-h2" },
        this.#title,
        this.#controls.layer,
        this.#where,
        el("span", { class: "dg-push" }),
        this.#count,
      ),
      this.#controls.element,
      this.#plot,
      this.#legend.element,
      el("div", { class: "dg-spread dg-scatter-foot" }, this.#about, this.#controls.fit),
    );
    context.onSize(this.#plot, (width, height) => {
      this.#panel = { ...this.#panel, width, height };
      this.#stage.size(width, height);
      this.#overlay.size(width, height);
      context.redraw();
    });
    this.#touch = new Touch(context, {
      area: this.#plot,
      scene: () => this.#scene,
      count: () => this.#material.projection?.count ?? 0,
      example: (row) => this.#example(row),
      row: ({ split, id }) => this.#material.projection?.row(split, id) ?? -1,
      start: ({ test }) => (test === null ? null : { split: "test", id: test }),
      tool: () => this.#controls.tool,
      panel: () => this.#panel,
      camera: () => this.#camera,
      setCamera: (camera) => {
        this.#camera = camera;
        context.redraw();
      },
      draft: (outline) => this.#overlay.draft(outline),
      left: () => this.#tip.hide(),
    });
    if (!record.attrs.layers.length) this.#say("No features are recorded.");
  }

  update(state: State): void {
    const { record } = this.#context,
      { selection, moving, theme } = state;
    this.#material.want(selection);
    const { projection, trouble } = this.#material;
    this.#controls.update(state, this.#material);
    if (!projection) {
      this.#say(
        trouble
          ? trouble instanceof NotHere
            ? "This page was saved without this layer."
            : trouble.message
          : "Reading positions …",
      );
      return;
    }
    const { before, after, share } = between(projection.epochs, selection.epoch),
      a = this.#material.positions(before),
      b = share ? this.#material.positions(after) : a;
    const shown = projection.epochs[indexNearest(projection.epochs, selection.epoch)] ?? 0;
    say(this.#title, this.#controls.layer ? "Layer" : `Layer ${clipped(projection.layer, 28)}`);
    const nearest = shown === record.epochs[indexNearest(record.epochs, selection.epoch)];
    say(
      this.#where,
      `at ${record.unit} ${moment(shown)}${nearest ? "" : ", the nearest with features"}`,
    );
    this.#where.title = `${projection.layer}: ${projection.about}; between recorded ${record.unit}s positions are interpolated`;
    say(this.#about, projection.about);
    if (!a || !b) {
      put(this.#plot, { "data-waiting": true });
      return;
    }
    put(this.#plot, { "data-waiting": null, "data-points": projection.count });
    this.#say("");
    if (!this.#panel.width || !this.#panel.height) return;
    this.#panel = {
      ...this.#panel,
      base: this.#controls.follow ? baseAt(projection.frames, before, after, share) : WHOLE,
    };
    const scene = (this.#scene = { a, b, share, fit: fit(this.#camera, this.#panel) });
    const every = Math.max(1, projection.count / WHILE_MOVING),
      colour = this.#controls.colour(selection.colour, this.#material);
    this.#inking.update(state, projection, this.#material, colour, every > 1);
    this.#stage.draw({
      scene,
      count: projection.count,
      colours: this.#inking.colours,
      radius: radiusFor(projection.count, this.#camera.zoom),
      every: moving ? every : 1,
      grey: rgb(theme.colour("grey-point")),
      paper: rgb(theme.colour("bg")),
      moving,
    });
    const words = wordsFor(
      record.light(selection.epoch, record.method(selection.method)?.id ?? null),
    );
    this.#legend.name("helps", words.most.toLowerCase());
    this.#legend.name("hurts", words.least.toLowerCase());
    const { painting: shownAs } = this.#inking;
    if (shownAs) this.#legend.update(shownAs.legend);
    this.#legend.press(this.#isolation.codes(selection));
    this.#controls.offerPictures(this.#thumbs.offered(projection));
    this.#thumbs.update(
      scene,
      projection,
      this.#inking.colours,
      this.#panel.width,
      this.#panel.height,
      this.#controls.pictures,
      moving,
    );
    const spot = (split: Split, id: number | null): readonly [number, number] | null => {
      const row = id === null ? -1 : projection.row(split, id);
      return row < 0 ? null : pixel(scene, row);
    };
    const { hovered } = selection;
    const names = this.#names.at(
      scene,
      projection.count,
      (shownAs?.named && shownAs.kinds) || null,
    );
    this.#overlay.update(
      {
        test: spot("test", testOf(selection)),
        train: spot("train", selection.train),
        hover: hovered ? spot(hovered.split, hovered.id) : null,
        links: this.#links(projection, scene, selection.epoch),
        names,
      },
      theme,
    );
    if (this.#touch.pointer && !moving) this.#describe(projection, selection.epoch);
    else if (moving) this.#tip.hide();
    const chosen = selection.selected.length + selection.selected_tests.length;
    this.#count.hidden = !chosen;
    put(this.#count, { "aria-label": `${count(chosen)} selected: zoom to them` });
    say(this.#count, chosen ? `${count(chosen)} selected` : "");
  }

  #links(projection: Projection, scene: Scene, when: number): Link[] {
    const { scores } = this.#material,
      links: Link[] = [];
    if (!scores?.epochs.length) return links;
    const epoch = indexNearest(scores.epochs, when),
      scale = scores.scale(epoch);
    for (const side of [1, 0] as const)
      for (const column of scores.top(epoch, side).slice(0, LINKS)) {
        const row = projection.row("train", scores.train[column]!),
          to = row < 0 ? null : pixel(scene, row);
        if (to)
          links.push({
            to,
            helps: side === 0,
            strength: Math.abs(scores.score(epoch, column)) / (scale || 1),
          });
      }
    return links;
  }

  #example(row: number): { split: Split; id: number } | null {
    const { projection } = this.#material;
    return projection && row >= 0
      ? { split: projection.split[row] ? "test" : "train", id: projection.id[row]! }
      : null;
  }

  #describe(projection: Projection, epoch: number): void {
    const { record, redraw, report } = this.#context,
      row = this.#touch.hovered(),
      at = this.#touch.pointer;
    if (row < 0 || !at) {
      this.#tip.hide();
      return;
    }
    const place = projection.place[row]!,
      examples = record.examples[projection.split[row] ? "test" : "train"],
      face = examples.face(place),
      facts = factsOf(row, epoch, projection, this.#material, record);
    if (!face) examples.load([place]).then(redraw, report);
    this.#tip.show(...at, this.#panel.width, this.#panel.height, face ?? undefined, facts);
  }

  #zoom(): void {
    const { projection } = this.#material,
      scene = this.#scene,
      rows = projection ? chosenRows(this.#context.store.value, projection) : null;
    if (!scene || !rows) return;
    this.#camera = around(
      this.#camera,
      [...rows].flatMap((row) => (row < 0 ? [] : (pixel(scene, row) ?? []))),
      this.#panel,
    );
    this.#context.redraw();
  }

  #say(text: string): void {
    this.#message.hidden = !text;
    say(this.#message, text);
  }
  destroy(): void {
    this.#stage.destroy();
    this.#material.destroy();
  }
}

export const evolution: ViewKind = {
  name: "evolution",
  title: "Feature space",
  slot: "right",
  has: (record) => record.attrs.layers.length > 0,
  lacks: "No layer's features are in this record.",
  make: (context, slot) => new Evolution(context, slot),
};
