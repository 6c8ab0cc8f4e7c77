// The picture that stands in for the board where no widget runs: an output beside it, hidden while
// the board is there.

/** `end`: the last characters of the picture's base64, by which it is known. */
export function hideStill(
  root: HTMLElement,
  end: () => string | undefined,
  signal: AbortSignal,
): void {
  const hide = (): void => {
    const output = root.closest(".jp-OutputArea-child"),
      known = end();
    if (!output?.parentElement || !known) return;
    for (const other of output.parentElement.children) {
      const image = other.querySelector<HTMLImageElement>(":scope > .jp-OutputArea-output > img");
      if (!image?.src.trimEnd().endsWith(known)) continue;
      (other as HTMLElement).hidden = true;
      (other as HTMLElement).style.display = "none";
      signal.addEventListener("abort", () => {
        (other as HTMLElement).hidden = false;
        (other as HTMLElement).style.display = "";
      });
    }
  };
  // it has a size once it is on the page
  const observer = new ResizeObserver(() => {
    if (!root.offsetWidth) return;
    observer.disconnect();
    hide();
  });
  observer.observe(root);
  signal.addEventListener("abort", () => observer.disconnect());
}
