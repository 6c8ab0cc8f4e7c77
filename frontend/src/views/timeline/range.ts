// The brushed range: a band with two handles, each a slider of its own.
import { indexNearest, neighbour } from "../../data/epochs";
import { el, put, svg } from "../../ui/dom";
import { moment } from "../../ui/format";
import type { Context } from "../../view";
import type { Scale } from "./axis";
import { BOTTOM, TOP } from "./plot";

export class RangeBand {
  readonly shade: SVGGElement;
  readonly handles: HTMLElement;
  #band: SVGRectElement;
  #ends: HTMLElement[];
  #context: Context;
  #x: () => Scale;

  constructor(context: Context, x: () => Scale) {
    this.#context = context;
    this.#x = x;
    this.#band = svg("rect", { class: "dg-band", y: TOP, height: BOTTOM - TOP });
    this.shade = svg("g", {}, this.#band);
    this.#ends = [0, 1].map((end) => {
      const handle = el("div", {
        class: "dg-handle",
        role: "slider",
        tabindex: 0,
        "aria-label": end ? "Range: after" : "Range: before",
        "data-testid": end ? "dg-after" : "dg-before",
        "aria-valuemin": context.record.first,
        "aria-valuemax": context.record.last,
      });
      this.#listen(handle, end);
      return handle;
    });
    this.handles = el("div", { class: "dg-handles" }, ...this.#ends);
  }

  #set(end: number, value: number, how: "passing" | "settled" = "settled"): void {
    const { store } = this.#context,
      range = store.value.range;
    if (!range) return;
    const next: [number, number] = [...range];
    next[end] = end ? Math.max(value, range[0]) : Math.min(value, range[1]);
    store.set({ range: next }, how);
  }

  #listen(handle: HTMLElement, end: number): void {
    const { record, store, signal, guard } = this.#context;
    let held = false;
    const moved = (event: PointerEvent, how: "passing" | "settled"): void => {
      if (!held) return;
      const at = this.#x().invert(event.clientX - this.handles.getBoundingClientRect().left);
      this.#set(end, record.epochs[indexNearest(record.epochs, at)] ?? at, how);
    };
    handle.addEventListener(
      "pointerdown",
      (event) => {
        held = true;
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
        handle.focus({ preventScroll: true });
      },
      { signal },
    );
    handle.addEventListener(
      "pointermove",
      guard((event) => moved(event, "passing")),
      { signal },
    );
    handle.addEventListener(
      "pointerup",
      guard((event) => {
        moved(event, "settled");
        held = false;
      }),
      { signal },
    );
    handle.addEventListener(
      "keydown",
      guard((event) => {
        const direction =
          event.key === "ArrowLeft" || event.key === "ArrowDown"
            ? -1
            : event.key === "ArrowRight" || event.key === "ArrowUp"
              ? 1
              : 0;
        if (!direction || !store.value.range) return;
        event.preventDefault();
        event.stopPropagation();
        this.#set(end, neighbour(record.epochs, store.value.range[end]!, direction));
      }),
      { signal },
    );
  }

  update(range: readonly [number, number] | null): void {
    this.handles.hidden = !range;
    put(this.#band, { visibility: range ? null : "hidden" });
    if (!range) return;
    const x = this.#x(),
      [from, to] = [x(range[0]), x(range[1])];
    put(this.#band, { x: from, width: Math.max(0, to - from) });
    this.#ends.forEach((handle, end) => {
      handle.style.transform = `translateX(${(end ? to : from).toFixed(1)}px)`;
      put(handle, {
        "aria-valuenow": range[end]!,
        "aria-valuetext": `${this.#context.record.unit} ${moment(range[end]!)}`,
        title: `${end ? "after" : "before"}: ${moment(range[end]!)}`,
      });
    });
  }
}
