// What a view is. See main.ts for how to add one.
import type { Asking } from "./data/asking";
import type { Record } from "./data/record";
import type { Player } from "./state/player";
import type { Selection } from "./state/selection";
import type { Store } from "./state/store";
import type { Theme } from "./ui/theme";

export type Slot = "head" | "timeline" | "left" | "middle" | "right" | "tabs";

/** What a view is shown. `moving` while playing or dragging: draw what is cheap. */
export interface State {
  readonly selection: Selection;
  readonly moving: boolean;
  readonly theme: Theme;
}

export interface View {
  /** Called at most once a frame, after anything changed. Must not change the selection. */
  update(state: State): void;
  /** Takes back everything the view did outside its own slot. */
  destroy(): void;
}

export interface Context {
  readonly record: Record;
  /** A saved page: no kernel will ever answer. */
  readonly isStatic: boolean;
  readonly store: Store;
  /** Questions about removals, their answers, and the job under way. */
  readonly asking: Asking;
  readonly player: Player;
  /** Ends with the view: pass it to every addEventListener. */
  readonly signal: AbortSignal;
  /** Have `update` called again in the next frame, for instance when awaited data came. */
  redraw(): void;
  /** Called with the element's new size, at once and whenever it changes; ends with the view. */
  onSize(element: Element, callback: (width: number, height: number) => void): void;
  /** Say something to a screen reader. */
  announce(text: string): void;
  /** Show an error under the board. `guard` wraps a callback so that none is lost. */
  report(error: unknown): void;
  guard<A extends unknown[]>(callback: (...values: A) => void): (...values: A) => void;
}

export interface ViewKind {
  readonly name: string;
  readonly title: string;
  readonly slot: Slot;
  /** Whether this record has what the view needs; a tab without is shown greyed with `lacks`. */
  has(record: Record): boolean;
  readonly lacks?: string;
  make(context: Context, slot: HTMLElement): View;
}
