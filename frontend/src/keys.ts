// Keys that work anywhere on the board. What is handled here goes no further than the widget.
import { isChord } from "./focus";
import type { Session } from "./session";

const TYPING = "input, textarea, [contenteditable]";

export function keysOf(event: KeyboardEvent, session: Session): void {
  // chords are the page's, where they are not the board's
  if (!isChord(event)) event.stopPropagation();
  if (event.defaultPrevented) return;
  const target = event.target as HTMLElement;
  if (target.matches(TYPING)) return;
  const { store, player } = session;
  const command = event.ctrlKey || event.metaKey;
  const act = ((): (() => void) | null => {
    if (command && event.key.toLowerCase() === "z")
      return event.shiftKey ? () => store.redo() : () => store.undo();
    if (command && event.key.toLowerCase() === "y") return () => store.redo();
    if (command || event.altKey) return null;
    if (event.key === "Escape")
      return () => store.set({ selected: [], selected_tests: [], train: null, range: null });
    if (target.matches("select")) return null;
    if (event.key === "ArrowLeft") return () => player.step(-1);
    if (event.key === "ArrowRight") return () => player.step(1);
    if (event.key === "[")
      return () =>
        store.set({
          range: [
            Math.min(store.value.epoch, store.value.range?.[1] ?? session.record.last),
            store.value.range?.[1] ?? session.record.last,
          ],
        });
    if (event.key === "]")
      return () =>
        store.set({
          range: [
            store.value.range?.[0] ?? session.record.first,
            Math.max(store.value.epoch, store.value.range?.[0] ?? session.record.first),
          ],
        });
    if (event.key === " " && !target.matches("button, [role=option], [role=tab]"))
      return () => player.toggle();
    return null;
  })();
  if (act) {
    event.preventDefault();
    event.stopPropagation();
    act();
  }
}
