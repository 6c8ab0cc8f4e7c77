// Layer, colour, tool, and the way back to the whole picture. The layer's menu stands in the panel's title.
import { menu } from "../../ui/controls";
import { el, put, svg } from "../../ui/dom";
import { clipped } from "../../ui/format";
import type { Context, State } from "../../view";
import { COLOURS, offered } from "./colouring";
import type { Tool } from "./gestures";
import type { Material } from "./material";

const TOOLS: readonly (readonly [Tool, string, string])[] = [
  [
    "lasso",
    "Lasso: drag around examples; Shift adds",
    "M8 3c3.3 0 5.5 1.7 5.5 3.8S11.3 10.6 8 10.6 2.5 8.9 2.5 6.8 4.7 3 8 3M5 10.2c-.8 1-.4 2.2.8 2.3 1 .1 1.3 1 .9 1.8",
  ],
  ["rectangle", "Rectangle: drag a corner; Shift adds", "M3 3.5h10v9H3z"],
  [
    "pan",
    "Move the picture; the wheel zooms once the plot has focus",
    "M8 2v12M2 8h12M6 4l2-2 2 2M6 12l2 2 2-2M4 6 2 8l2 2M12 6l2 2-2 2",
  ],
];

export class Controls {
  readonly element: HTMLElement;
  /** Stands under the plot, beside what it shows. */
  readonly fit: HTMLButtonElement;
  tool: Tool = "lasso";
  /** Fill the panel at every moment, rather than keep one scale for the whole run. */
  follow = true;
  /** Show pictures among the points. */
  pictures = false;
  #pictures: HTMLButtonElement;
  readonly layer: HTMLSelectElement | null = null;
  #colour: HTMLSelectElement;
  #tools: HTMLButtonElement[];
  #context: Context;

  constructor(context: Context, home: () => void) {
    this.#context = context;
    const { record, store, signal, guard } = context,
      { layers } = record.attrs;
    this.#colour = menu(
      "Colour by",
      COLOURS.map(([value, text]) => ({ value, text: `colour by ${text}` })),
      "dg-colour",
    );
    this.#colour.addEventListener(
      "change",
      guard(() => store.set({ colour: this.#colour.value })),
      { signal },
    );
    if (layers.length > 1) {
      this.layer = menu(
        "Layer",
        layers.map((layer) => ({ value: layer, text: clipped(layer, 40) })),
        "dg-layer",
      );
      this.layer.addEventListener(
        "change",
        guard(() => store.set({ layer: this.layer!.value })),
        { signal },
      );
    }
    this.#tools = TOOLS.map(([tool, label, path]) => {
      const button = el(
        "button",
        {
          type: "button",
          class: "dg-button dg-tool",
          "aria-label": label,
          title: label,
          "data-testid": `dg-tool-${tool}`,
        },
        svg(
          "svg",
          { viewBox: "0 0 16 16", class: "dg-icon", "aria-hidden": "true" },
          svg("path", { d: path }),
        ),
      );
      button.addEventListener(
        "click",
        guard(() => {
          this.tool = tool;
          this.#press();
        }),
        { signal },
      );
      return button;
    });
    const whole = el(
      "button",
      {
        type: "button",
        class: "dg-button dg-tool",
        "aria-label": "Show all (0)",
        title: "Show all (0 or double click)",
        "data-testid": "dg-home",
      },
      svg(
        "svg",
        { viewBox: "0 0 16 16", class: "dg-icon", "aria-hidden": "true" },
        svg("path", { d: "M2.5 6v-3.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10" }),
      ),
    );
    whole.addEventListener("click", guard(home), { signal });
    this.#pictures = el(
      "button",
      {
        type: "button",
        class: "dg-button dg-tool",
        hidden: true,
        "aria-pressed": "false",
        "aria-label": "Show pictures",
        title: "Show pictures: as many as fit beside each other; zoom in for more",
        "data-testid": "dg-pictures",
      },
      svg(
        "svg",
        { viewBox: "0 0 16 16", class: "dg-icon", "aria-hidden": "true" },
        svg("path", {
          d: "M2.5 3h11v10h-11zM2.8 11.5l3.2-3.6 2.6 2.8 1.9-1.9 2.8 2.9M10.4 6.2v.1",
        }),
      ),
    );
    this.#pictures.addEventListener(
      "click",
      guard(() => {
        this.pictures = !this.pictures;
        put(this.#pictures, { "aria-pressed": String(this.pictures) });
        context.redraw();
      }),
      { signal },
    );
    const follow = (this.fit = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        "aria-pressed": "true",
        title:
          "Scale the picture to each moment; off keeps one scale for the whole run, so that spread can be compared",
        "data-testid": "dg-follow",
      },
      "auto-fit",
    ));
    follow.addEventListener(
      "click",
      guard(() => {
        this.follow = !this.follow;
        put(follow, { "aria-pressed": String(this.follow) });
        context.redraw();
      }),
      { signal },
    );
    this.element = el(
      "div",
      { class: "dg-scatter-controls" },
      this.#colour,
      el(
        "span",
        { class: "dg-scatter-tools" },
        el("span", { class: "dg-pair", role: "group", "aria-label": "Selecting" }, ...this.#tools),
        this.#pictures,
        whole,
      ),
    );
    this.#press();
  }

  /** The colouring that can be shown: the one asked for, else the first that can be, else none. */
  colour(wanted: string, material: Material): string {
    if (this.#can(wanted, material)) return wanted;
    return COLOURS.find(([name]) => this.#can(name, material))?.[0] ?? "label";
  }

  offerPictures(offered: boolean): void {
    this.#pictures.hidden = !offered;
  }

  update({ selection }: State, material: Material): void {
    if (this.layer)
      this.layer.value =
        selection.layer !== null && this.#context.record.attrs.layers.includes(selection.layer)
          ? selection.layer
          : this.#context.record.attrs.layers[0]!;
    this.#colour.value = this.colour(selection.colour, material);
    for (const option of this.#colour.options) option.disabled = !this.#can(option.value, material);
  }

  #can(colour: string, material: Material): boolean {
    const { record } = this.#context;
    return (
      material.projection !== null &&
      COLOURS.some(([name]) => name === colour) &&
      offered(
        colour,
        { ...material, projection: material.projection },
        record.groups.length,
        record.attrs.methods.length,
      )
    );
  }
  #press(): void {
    this.#tools.forEach((button, i) =>
      put(button, { "aria-pressed": String(TOOLS[i]![0] === this.tool) }),
    );
  }
}
