// The colours of the dynamics map. Pure.
import type { Blocks } from "../../data/blocks";
import { magnitude, moment } from "../../ui/format";
import type { Theme } from "../../ui/theme";
import type { Legend } from "../evolution/colouring";
import { along, css, kind, ordered, type Rgb, rgb } from "../evolution/palette";

export const REGIONS = ["easy", "ambiguous", "hard"] as const;
export const COLOURS = [
  ["region", "region"],
  ["forgetting", "times forgotten"],
  ["first_learned", "first learned"],
  ["mean_loss", "mean loss"],
  ["memorization", "memorization"],
] as const;

export interface Painting {
  readonly ink: (row: number) => Rgb | null;
  readonly legend: Legend;
}

export function mapPainting(
  colour: string,
  blocks: Blocks,
  theme: Theme,
  last: number,
  unit: string,
): Painting {
  const stops = ordered(theme.dark),
    bar = (low: string, high: string): Legend => ({
      kind: "bar",
      stops: stops.map(css),
      low,
      high,
    });
  if (colour === "region") {
    const region = blocks.numbers("region"),
      inks = [kind(0, 8, theme), kind(4, 8, theme), kind(1, 8, theme)];
    const items = REGIONS.map((text, code) => ({ colour: css(inks[code]!), text }));
    return {
      ink: (row) => inks[region[row]!] ?? null,
      legend: { kind: "swatches", items, more: 0 },
    };
  }
  const values = blocks.maybe(colour);
  if (!values) return { ink: () => null, legend: { kind: "swatches", items: [], more: 0 } };
  if (colour === "first_learned") {
    const never = rgb(theme.colour("wrong"));
    return {
      ink: (row) => (values[row]! < 0 ? never : along(stops, values[row]! / (last || 1))),
      legend: bar("at once", `${unit} ${moment(last)}; never: orange`),
    };
  }
  let most = 0;
  for (let row = 0; row < values.length; row++)
    if (Number.isFinite(values[row]!)) most = Math.max(most, values[row]!);
  if (colour === "memorization") most = 1;
  return {
    ink: (row) => (Number.isFinite(values[row]!) ? along(stops, values[row]! / (most || 1)) : null),
    legend: bar(
      "0",
      colour === "mean_loss"
        ? `${magnitude(most)} nats`
        : colour === "forgetting"
          ? `${most} times`
          : "1",
    ),
  };
}
