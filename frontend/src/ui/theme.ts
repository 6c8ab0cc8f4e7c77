// Light or dark, as the page around the board is; canvases read the colours from here.

export interface Theme {
  readonly dark: boolean;
  colour(token: string): string;
}

function luminance(colour: string): number | null {
  const parts = /rgba?\(([^)]+)\)/
    .exec(colour)?.[1]
    ?.split(/[\s,/]+/)
    .map(Number);
  if (!parts || parts.length < 3 || (parts.length > 3 && parts[3] === 0)) return null;
  return (0.2126 * parts[0]! + 0.7152 * parts[1]! + 0.0722 * parts[2]!) / 255;
}

function isDark(root: HTMLElement): boolean {
  const { body, documentElement } = document;
  const forced = documentElement.dataset.dgTheme;
  if (forced === "dark" || forced === "light") return forced === "dark";
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (body.dataset.vscodeThemeKind) return body.dataset.vscodeThemeKind.includes("dark");
  if (getComputedStyle(body).getPropertyValue("--jp-layout-color1").trim()) {
    const around = root.parentElement ? luminance(getComputedStyle(body).backgroundColor) : null;
    if (around !== null) return around < 0.45;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Follows the surrounding theme for as long as the signal lasts. */
export function followTheme(
  root: HTMLElement,
  signal: AbortSignal,
  changed: (theme: Theme) => void,
): Theme {
  const read = (): Theme => {
    const dark = isDark(root);
    root.classList.toggle("dg-dark", dark);
    const known = new Map<string, string>();
    return {
      dark,
      colour(token) {
        let value = known.get(token);
        if (value === undefined)
          known.set(
            token,
            (value = getComputedStyle(root).getPropertyValue(`--dg-${token}`).trim()),
          );
        return value;
      },
    };
  };
  let theme = read();
  const again = (): void => {
    theme = read();
    changed(theme);
  };
  const observer = new MutationObserver(again);
  const options = {
    attributes: true,
    attributeFilter: [
      "data-jp-theme-name",
      "data-jp-theme-light",
      "data-vscode-theme-kind",
      "data-dg-theme",
      "class",
    ],
  };
  observer.observe(document.body, options);
  observer.observe(document.documentElement, options);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
  return theme;
}

// Okabe and Ito's colours, lifted on dark; categories beyond eight repeat with another shape or text beside.
const LIGHT = [
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#B8860B",
  "#56B4E9",
  "#7A4EAB",
  "#595959",
];
const DARK = [
  "#56B4E9",
  "#F0894A",
  "#3FC59B",
  "#E29CC4",
  "#E6C34A",
  "#8CCBF2",
  "#B493E0",
  "#A6A6A6",
];
const DASHES = ["", "5 3", "1.5 2.5", "9 3 2 3"];
/** A line's pattern, so that lines differ by more than colour. */
export function dash(code: number): string {
  return DASHES[code % DASHES.length]!;
}

export function category(code: number, theme: Theme): string {
  return (theme.dark ? DARK : LIGHT)[((code % 8) + 8) % 8]!;
}
