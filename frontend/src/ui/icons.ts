// Icons as paths, so that none depends on a font.
import { svg } from "./dom";

const PATHS = {
  play: "M5 3.5v9l7.5-4.5z",
  pause: "M4.5 3.5h2.6v9H4.5zM8.9 3.5h2.6v9H8.9z",
  back: "M10.5 3.5 5.5 8l5 4.5",
  forward: "M5.5 3.5 10.5 8l-5 4.5",
  loop: "M4 6.5A4 4 0 0 1 11.5 5M12 9.5A4 4 0 0 1 4.5 11M11.8 2.3V5H9.1M4.2 13.7V11h2.7",
  undo: "M6 3.5 3 6.5l3 3M3.2 6.5h6a3.3 3.3 0 0 1 0 6.6H6.5",
  redo: "M10 3.5l3 3-3 3M12.8 6.5h-6a3.3 3.3 0 0 0 0 6.6h2.7",
  range: "M3.5 3.5v9M12.5 3.5v9M3.5 8h9",
  right: "M3.2 8.6 6.4 11.8 12.8 4.6",
  wrong: "M4 4l8 8M12 4l-8 8",
  search: "M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8M10 10l3.2 3.2",
  green: "M3.2 8.6 6.4 11.8 12.8 4.6",
  amber: "M8 3v6M8 11.6v.6",
  red: "M4 4l8 8M12 4l-8 8",
  grey: "M5.6 6a2.4 2.4 0 1 1 3.4 2.3c-.7.3-1 .8-1 1.5M8 12.2v.3",
} as const;
export type Icon = keyof typeof PATHS;
const SOLID: Icon[] = ["play", "pause"];

export function icon(name: Icon): SVGSVGElement {
  return svg(
    "svg",
    {
      viewBox: "0 0 16 16",
      class: `dg-icon${SOLID.includes(name) ? " dg-solid" : ""}`,
      "aria-hidden": "true",
    },
    svg("path", { d: PATHS[name] }),
  );
}
export function turnInto(button: Element, name: Icon): void {
  button.querySelector("path")?.setAttribute("d", PATHS[name]);
}
