// What each point's colour says at a moment, and the legend that explains it. Pure.
import type { Dynamics } from "../../data/dynamics";
import { indexBefore, indexNearest } from "../../data/epochs";
import type { Projection } from "../../data/projection";
import type { TestScores } from "../../data/scores";
import { magnitude, percent } from "../../ui/format";
import type { Theme } from "../../ui/theme";
import type { Words } from "../../ui/words";
import type { Kinds } from "./names";
import { GREY, TEST } from "./painter";
import { along, centred, css, diverging, kind, ordered, type Rgb, rgb } from "./palette";

export const COLOURS = [
  ["label", "label"],
  ["correct", "right or wrong"],
  ["loss", "loss"],
  ["memorization", "memorization"],
  ["group", "group"],
  ["influence", "score"],
] as const;

const LISTED = 12; // names in a legend

/** `code` where a click on it can choose its examples. */
export interface Swatch {
  readonly colour: string;
  readonly text: string;
  readonly code?: number;
}
export type Legend =
  | { readonly kind: "swatches"; readonly items: readonly Swatch[]; readonly more: number }
  | {
      readonly kind: "bar";
      readonly stops: readonly string[];
      readonly low: string;
      readonly high: string;
      readonly note?: string;
    };

export interface Material {
  readonly projection: Projection;
  readonly theme: Theme;
  readonly moment: number;
  readonly train: Dynamics | null;
  readonly test: Dynamics | null;
  readonly scores: TestScores | null;
  /** Scores (epoch, train) of all training examples in units of the largest, where they are known. */
  readonly rows: { readonly values: ArrayLike<number>; readonly count: number } | null;
  readonly classes: readonly string[];
  readonly groups: readonly string[];
  readonly words: Words;
}

/** Cross-entropy of the true label from its log odds: log(1 + exp(-margin)), stable at both ends. */
export function lossOf(margin: number): number {
  return margin > 0 ? Math.log1p(Math.exp(-margin)) : -margin + Math.log1p(Math.exp(margin));
}

/** Whether a colouring can be shown at all. */
export function offered(
  colour: string,
  { projection, train, test }: Pick<Material, "projection" | "train" | "test">,
  groups: number,
  methods: number,
): boolean {
  if (colour === "label") return projection.label !== null;
  if (colour === "group") return projection.group !== null && groups > 0;
  if (colour === "memorization") return projection.memorization !== null;
  if (colour === "influence") return methods > 0;
  return train !== null || test !== null;
}

/** A row's place among the dynamics of its split, or null where none is recorded. */
function courseOf({ projection, train, test }: Material, row: number): Dynamics | null {
  return projection.split[row] ? test : train;
}

type Ink = (row: number) => Rgb | null;
/** `kinds` where each example is of one; `named` where there is room for their names among the points. */
export interface Painting {
  readonly ink: Ink;
  readonly legend: Legend;
  readonly kinds?: Kinds;
  readonly named?: boolean;
}

export function painting(colour: string, material: Material): Painting {
  const { projection, theme, moment, classes, groups } = material,
    { dark } = theme,
    { place } = projection;
  if (colour === "group" && projection.group) return kinds(projection.group, groups, theme);
  if (colour === "memorization" && projection.memorization) {
    const values = projection.memorization,
      stops = ordered(dark);
    return {
      ink: (row) => (Number.isFinite(values[row]!) ? along(stops, values[row]!) : null),
      legend: { kind: "bar", stops: stops.map(css), low: "0", high: "1" },
    };
  }
  if (colour === "correct") {
    const right = rgb(theme.colour("right")),
      wrong = rgb(theme.colour("wrong"));
    let n = 0,
      all = 0;
    const verdict = (row: number): boolean | null => {
      const course = courseOf(material, row);
      return course ? course.correct(indexBefore(course.epochs, moment), place[row]!) : null;
    };
    for (let row = 0; row < projection.count; row++)
      if (projection.split[row]) {
        const v = verdict(row);
        if (v !== null) {
          all++;
          if (v) n++;
        }
      }
    return {
      ink: (row) => {
        const is = verdict(row);
        return is === null ? null : is ? right : wrong;
      },
      legend: {
        kind: "swatches",
        items: [
          { colour: css(right), text: all ? `right (test ${percent(n / all)})` : "right", code: 1 },
          { colour: css(wrong), text: "wrong", code: 0 },
        ],
        more: 0,
      },
      kinds: {
        names: ["wrong", "right"],
        of: (row) => {
          const is = verdict(row);
          return is === null ? -1 : is ? 1 : 0;
        },
      },
    };
  }
  if (colour === "loss") {
    const stops = ordered(dark),
      most = Math.max(material.train?.marginScale ?? 0, material.test?.marginScale ?? 0) || 1;
    return {
      ink: (row) => {
        const course = courseOf(material, row),
          margin = course?.margin(indexBefore(course.epochs, moment), place[row]!) ?? NaN;
        return Number.isFinite(margin) ? along(stops, lossOf(margin) / most) : null;
      },
      legend: { kind: "bar", stops: stops.map(css), low: "0", high: `${magnitude(most)} nats` },
    };
  }
  if (colour === "influence") {
    const stops = diverging(dark),
      { scores } = material,
      epoch = scores?.epochs.length ? indexNearest(scores.epochs, moment) : -1;
    const size = scores && epoch >= 0 ? scores.scale(epoch) : NaN,
      by = new Map<number, number>();
    if (scores && Number.isFinite(size))
      for (let column = 0; column < scores.count; column++)
        by.set(scores.position[column]!, scores.score(epoch, column));
    const { rows } = material;
    return {
      ink: (row) => {
        const score = projection.split[row]
          ? undefined
          : rows
            ? rows.values[epoch * rows.count + place[row]!]! * size
            : by.get(place[row]!);
        return score === undefined || !Number.isFinite(score)
          ? null
          : along(stops, centred(score, size));
      },
      legend: {
        kind: "bar",
        stops: stops.map(css),
        low: material.words.low(Number.isFinite(size) ? `−${magnitude(size)}` : ""),
        ...(rows ? {} : { note: "grey: weaker" }),
        high: material.words.high(Number.isFinite(size) ? `+${magnitude(size)}` : ""),
      },
    };
  }
  return projection.label
    ? kinds(projection.label, classes, theme)
    : { ink: () => null, legend: { kind: "swatches", items: [], more: 0 } };
}

function kinds(codes: ArrayLike<number>, names: readonly string[], theme: Theme): Painting {
  const inks = names.map((_, code) => kind(code, names.length, theme));
  const ink: Ink = (row) => inks[codes[row]!] ?? null,
    of = { names, of: (row: number) => codes[row]! };
  // numbered kinds in their order are a scale of hues
  if (names.length > LISTED && names.every((name) => /^-?\d+(\.\d+)?$/.test(name)))
    return {
      ink,
      kinds: of,
      legend: { kind: "bar", stops: inks.map(css), low: names[0]!, high: names[names.length - 1]! },
    };
  return {
    ink,
    kinds: of,
    named: names.length <= LISTED,
    legend: {
      kind: "swatches",
      items: names
        .slice(0, names.length <= LISTED ? LISTED : 8)
        .map((text, code) => ({ colour: css(inks[code]!), text, code })),
      more: names.length <= LISTED ? 0 : names.length - 8,
    },
  };
}

/** r, g, b, state of every row. Rows outside a selection, and rows the colour knows nothing of, are grey. */
export function inked(
  projection: Projection,
  ink: Ink,
  chosen: ReadonlySet<number> | null,
): Uint8Array {
  const out = new Uint8Array(projection.count * 4);
  for (let row = 0, o = 0; row < projection.count; row++, o += 4) {
    const colour = ink(row),
      state = projection.split[row] ? TEST : 0;
    if (!colour || (chosen && !chosen.has(row))) {
      out[o + 3] = state | GREY;
      continue;
    }
    out[o] = colour[0];
    out[o + 1] = colour[1];
    out[o + 2] = colour[2];
    out[o + 3] = state;
  }
  return out;
}
