// A listbox that makes only the rows on screen; one tab stop, arrows move, Enter chooses.
import { el, freshId, put } from "../../ui/dom";
import type { Context } from "../../view";

export interface Row {
  readonly element: HTMLElement;
}

export class Listbox<R extends Row> {
  readonly element: HTMLElement;
  active = 0;
  #inner: HTMLElement;
  #rows = new Map<number, R>(); // by index in the list
  #spare: R[] = [];
  #items: readonly number[] = [];
  #height = 0;
  #top = 0; // what is scrolled past; asking the element in a frame would lay out the page once more
  #hidden = false; // something was to be revealed before the list had a size
  #row: number;
  #make: () => R;
  #fill: (row: R, item: number, index: number) => void;
  #context: Context;

  /** Another height of a row. */
  set row(pixels: number) {
    this.#row = pixels;
    this.#inner.style.height = `${this.#items.length * pixels}px`;
    this.#reveal(true);
    this.#show();
  }

  constructor(
    context: Context,
    label: string,
    row: number,
    make: () => R,
    fill: (row: R, item: number, index: number) => void,
    choose: (item: number) => void,
  ) {
    this.#row = row;
    this.#make = make;
    this.#fill = fill;
    this.#context = context;
    this.#inner = el("div", { class: "dg-list-inner" });
    this.element = el(
      "div",
      { class: "dg-list", role: "listbox", tabindex: 0, "aria-label": label },
      this.#inner,
    );
    const { signal, guard } = context;
    this.element.addEventListener(
      "scroll",
      guard(() => {
        this.#top = this.element.scrollTop;
        this.#show();
      }),
      { signal, passive: true },
    );
    context.onSize(this.element, (_, height) => {
      this.#height = height;
      this.#top = this.element.scrollTop;
      if (height && this.#hidden) {
        this.#hidden = false;
        this.#reveal(true);
      }
      this.#show();
    });
    this.element.addEventListener(
      "click",
      guard((event) => {
        const index = Number(
          (event.target as Element).closest<HTMLElement>("[data-index]")?.dataset.index ?? -1,
        );
        if (index >= 0) {
          this.active = index;
          choose(this.#items[index]!);
        }
      }),
      { signal },
    );
    // A press focuses the list before the click arrives: scrolling to the active row at that moment
    // would pull the pressed row from under the pointer, and the click would meet another one.
    this.element.addEventListener(
      "focus",
      () => {
        if (this.element.matches(":focus-visible")) this.#reveal();
        this.#show();
      },
      { signal },
    );
    this.element.addEventListener(
      "keydown",
      guard((event) => {
        const page = Math.max(1, Math.floor(this.#height / this.#row) - 1),
          last = this.#items.length - 1;
        const to = {
          ArrowDown: this.active + 1,
          ArrowUp: this.active - 1,
          PageDown: this.active + page,
          PageUp: this.active - page,
          Home: 0,
          End: last,
        }[event.key];
        if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "Enter" || event.key === " ") choose(this.#items[this.active]!);
        else if (to !== undefined) {
          this.active = Math.min(last, Math.max(0, to));
          this.#reveal();
          this.#show();
        } else return;
        event.preventDefault();
        event.stopPropagation();
      }),
      { signal },
    );
  }

  /** Told which items are on screen, and those of the screen below, whenever they may have changed. */
  shown: ((items: readonly number[]) => void) | null = null;

  /** New items; the scroll position stays where it was. */
  set(items: readonly number[]): void {
    this.#items = items;
    this.active = Math.min(this.active, Math.max(0, items.length - 1));
    this.#inner.style.height = `${items.length * this.#row}px`;
    this.#show();
  }

  /** Fill the rows on screen again. */
  refresh(): void {
    this.#show();
  }

  reveal(item: number): void {
    const index = this.#items.indexOf(item);
    if (index < 0) return;
    this.active = index;
    this.#hidden = !this.#height;
    this.#reveal(true);
    this.#show();
  }

  /** Scroll the active row into view; what was chosen elsewhere comes to the middle, with its neighbours. */
  #reveal(middle = false): void {
    if (!this.#height) return;
    const top = this.active * this.#row,
      { scrollTop } = this.element;
    if (top >= scrollTop && top + this.#row <= scrollTop + this.#height) return;
    if (middle) this.element.scrollTop = top - Math.max(0, this.#height - this.#row) / 2;
    else if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#row > scrollTop + this.#height)
      this.element.scrollTop = top + this.#row - this.#height;
    this.#top = this.element.scrollTop;
  }

  #show(): void {
    if (!this.#height) return;
    const first = Math.max(0, Math.floor(this.#top / this.#row) - 2);
    const last = Math.min(
      this.#items.length - 1,
      Math.ceil((this.#top + this.#height) / this.#row) + 2,
    );
    for (const [index, row] of this.#rows)
      if (index < first || index > last) {
        this.#rows.delete(index);
        row.element.remove();
        this.#spare.push(row);
      }
    for (let index = first; index <= last; index++) {
      let row = this.#rows.get(index);
      if (!row) {
        row = this.#spare.pop() ?? this.#make();
        row.element.id ||= freshId("option");
        this.#rows.set(index, row);
        this.#inner.append(row.element);
      }
      row.element.style.transform = `translateY(${index * this.#row}px)`;
      put(row.element, {
        role: "option",
        "data-index": index,
        "aria-posinset": index + 1,
        "aria-setsize": this.#items.length,
        "data-active": index === this.active || null,
      });
      this.#context.guard(this.#fill)(row, this.#items[index]!, index);
    }
    put(this.element, { "aria-activedescendant": this.#rows.get(this.active)?.element.id });
    this.shown?.(this.#items.slice(first, 2 * last - first + 1));
  }
}
