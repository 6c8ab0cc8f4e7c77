// Drag anywhere to scrub; Shift-drag to brush a range. Rests on recorded epochs.
import { indexNearest } from "../../data/epochs";
import type { Context } from "../../view";
import type { Scale } from "./axis";

export function drag(area: HTMLElement, context: Context, x: () => Scale): void {
  const { record, store, player, signal, guard } = context;
  let from: number | null = null,
    brushing = false;
  const at = (event: PointerEvent): number =>
    x().invert(event.clientX - area.getBoundingClientRect().left);
  const nearest = (moment: number): number =>
    record.epochs[indexNearest(record.epochs, moment)] ?? moment;

  const move = (event: PointerEvent, how: "passing" | "settled"): void => {
    if (from === null) return;
    const moment = at(event);
    if (!brushing) {
      store.set({ epoch: how === "settled" ? nearest(moment) : moment }, how);
      return;
    }
    const ends = [nearest(Math.min(from, moment)), nearest(Math.max(from, moment))] as const;
    store.set({ range: ends[0] === ends[1] ? null : ends }, how);
  };
  area.addEventListener(
    "pointerdown",
    guard((event) => {
      if (event.button !== 0 || !record.epochs.length) return;
      event.preventDefault();
      area.focus({ preventScroll: true });
      area.setPointerCapture(event.pointerId);
      player.pause();
      brushing = event.shiftKey;
      from = at(event);
      move(event, "passing");
    }),
    { signal },
  );
  area.addEventListener(
    "pointermove",
    guard((event) => move(event, "passing")),
    { signal },
  );
  const end = guard((event: PointerEvent) => {
    move(event, "settled");
    from = null;
  });
  area.addEventListener("pointerup", end, { signal });
  area.addEventListener("pointercancel", end, { signal });
}
