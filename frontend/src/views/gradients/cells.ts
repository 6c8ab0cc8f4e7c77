// What the cells of the gradient heatmap show.
import { along, type Rgb } from "../evolution/palette";

export const MEASURES = [
  ["norm", "gradient norm"],
  ["update_ratio", "update ratio"],
  ["cosine_to_previous", "cosine to previous"],
  ["dead_units", "dead units"],
] as const;
export const FLAGS = ["", "vanishing", "exploding", "not finite"] as const;

export interface Tone {
  readonly share: (value: number) => number;
  readonly low: number;
  readonly high: number;
  readonly centred: boolean;
  readonly log: boolean;
}

/** How values become 0..1: cosine around zero, shares as they are, sizes by their logarithm. */
export function toneOf(measure: string, values: ArrayLike<number>): Tone {
  if (measure === "cosine_to_previous")
    return { share: (v) => (v + 1) / 2, low: -1, high: 1, centred: true, log: false };
  if (measure === "dead_units")
    return { share: (v) => v, low: 0, high: 1, centred: false, log: false };
  let low = Infinity,
    high = 0;
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (Number.isFinite(v) && v > 0) {
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
  }
  if (!(high > 0)) return { share: () => 0, low: 0, high: 0, centred: false, log: true };
  // more than eight decades of contrast hide everything else
  low = Math.max(low, high * 1e-8);
  const span = Math.log(high / low);
  return {
    share: (v) => (v > 0 && span > 0 ? Math.max(0, Math.log(v / low) / span) : v > 0 ? 1 : 0),
    low,
    high,
    centred: false,
    log: true,
  };
}

/** Where the cell of each recorded epoch begins and ends: half way to its neighbours. */
export function edges(epochs: ArrayLike<number>): number[] {
  const n = epochs.length;
  if (n < 2) return [(epochs[0] ?? 0) - 0.5, (epochs[0] ?? 0) + 0.5];
  const out = [epochs[0]!];
  for (let i = 1; i < n; i++) out.push((epochs[i - 1]! + epochs[i]!) / 2);
  out.push(epochs[n - 1]!);
  return out;
}

export function paint(value: number, tone: Tone, stops: readonly Rgb[]): Rgb | null {
  return Number.isFinite(value) ? along(stops, tone.share(value)) : null;
}

/** Fill the cells (moment, layer) between borders, in pixels, each row `height` high. */
export function fillCells(
  paper: CanvasRenderingContext2D,
  values: ArrayLike<number>,
  borders: readonly number[],
  height: number,
  style: (value: number) => string,
): void {
  const moments = borders.length - 1,
    layers = values.length / moments,
    gap = height >= 10 ? 1 : 0;
  for (let i = 0; i < moments; i++)
    for (let layer = 0; layer < layers; layer++) {
      const x = borders[i]!;
      paper.fillStyle = style(values[i * layers + layer]!);
      paper.fillRect(x, layer * height, borders[i + 1]! - x + 0.4, height - gap);
    }
}

/** The paths of all marks, and how many there are, by flag. */
export function flagged(
  flags: ArrayLike<number>,
  middles: readonly number[],
  height: number,
): { glyphs: string[]; tally: number[] } {
  const glyphs = ["", "", "", ""],
    tally = [0, 0, 0, 0],
    layers = flags.length / middles.length;
  for (let i = 0; i < middles.length; i++)
    for (let layer = 0; layer < layers; layer++) {
      const flag = flags[i * layers + layer]!;
      if (!flag) continue;
      tally[flag]!++;
      glyphs[flag] += glyph(flag, middles[i]!, layer * height + height / 2);
    }
  return { glyphs, tally };
}

function glyph(flag: number, x: number, y: number): string {
  if (flag === 1) return `M${x - 3},${y - 2}h6l-3,5z`;
  if (flag === 2) return `M${x - 3},${y + 2}h6l-3,-5z`;
  return `M${x - 3},${y - 3}l6,6m0,-6l-6,6`;
}
