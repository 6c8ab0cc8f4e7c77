// Keys on a board are the board's: none reaches the notebook, except chords (Ctrl+S and the like).

const CHORDS = ["z", "y"]; // with Ctrl or Cmd: the board's own undo and redo
const SUPPRESS = "data-lm-suppress-shortcuts"; // what Jupyter's applications look for

/** The element that has the focus where `root` lives, which may be a shadow root. */
export function focusedIn(root: Element): Element | null {
  return (root.getRootNode() as Document | ShadowRoot).activeElement;
}

export function keepKeys(root: HTMLElement, signal: AbortSignal): void {
  // a click on plain text would else move the focus to the cell, in the notebook's command mode
  root.tabIndex = -1;
  root.addEventListener(
    "pointerdown",
    () => {
      if (!root.contains(focusedIn(root))) root.focus({ preventScroll: true });
    },
    { signal },
  );
  // what had the focus may leave the page while it has it, as a row that scrubbing takes away
  root.addEventListener(
    "focusout",
    (event) => {
      const left = event.target as HTMLElement;
      if (event.relatedTarget || !document.hasFocus()) return;
      setTimeout(() => {
        const gone = !left.isConnected || !left.checkVisibility();
        const now = focusedIn(root);
        // a board that was built anew has given the focus back already
        if (gone && root.isConnected && !root.contains(now) && !now?.matches("input, textarea"))
          root.focus({ preventScroll: true });
      });
    },
    { signal },
  );
  // earlier than the notebook, which listens to the document: it asks the focused element, or
  // those around it, whether its shortcuts may run, and knows no difference between a and Ctrl+S
  window.addEventListener(
    "keydown",
    (event) => {
      const path = event.composedPath();
      if (!path.includes(root)) return;
      const target = path[0] as HTMLElement;
      const passes = isChord(event) && !CHORDS.includes(event.key.toLowerCase());
      for (const element of [root, target]) element.toggleAttribute(SUPPRESS, !passes);
    },
    { signal, capture: true },
  );
}

export function isChord(event: KeyboardEvent): boolean {
  return event.ctrlKey || event.metaKey || event.altKey;
}
