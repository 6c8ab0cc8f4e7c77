// Small controls: an icon button, a labelled menu.
import { el } from "./dom";
import { type Icon, icon } from "./icons";

export function iconButton(name: Icon, label: string, test: string): HTMLButtonElement {
  return el(
    "button",
    { type: "button", class: "dg-button", "aria-label": label, title: label, "data-testid": test },
    icon(name),
  );
}

export interface Option {
  value: string;
  text: string;
}

/** A native menu: keyboard, screen reader and touch come with it. */
export function menu(label: string, options: readonly Option[], test: string): HTMLSelectElement {
  return el(
    "select",
    { class: "dg-menu", "aria-label": label, title: label, "data-testid": test },
    ...options.map(({ value, text }) => el("option", { value }, text)),
  );
}
