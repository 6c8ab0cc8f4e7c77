// Which test examples the gallery lists, and in which order. Pure.
import type { Dynamics } from "../../data/dynamics";
import { indexBefore } from "../../data/epochs";
import type { Face } from "../../data/examples";
import type { Selection } from "../../state/selection";
import { nameOf } from "../../ui/face";

export const FILTERS = [
  ["all", "All"],
  ["right", "Right"],
  ["wrong", "Wrong"],
  ["flipped", "Flipped"],
] as const;
export const SORTS = [
  ["order", "in order"],
  ["margin", "lowest margin"],
  ["margin-high", "highest margin"],
  ["learned", "learned first"],
  ["learned-late", "learned last"],
  ["hardest", "hardest overall"],
] as const;

type Question = Pick<
  Selection,
  "epoch" | "range" | "search" | "filter" | "label" | "group" | "sort" | "selected_tests"
>;

/** `#12` finds the id 12, anything else a part of the text, a property or the label. */
export function matches(face: Face, search: string): boolean {
  const wanted = search.trim().toLowerCase();
  if (!wanted) return true;
  if (/^#\d+$/.test(wanted)) return face.id === Number(wanted.slice(1));
  return (
    nameOf(face).toLowerCase().includes(wanted) ||
    face.label.toLowerCase() === wanted ||
    face.cells.some(([, value]) => value.toLowerCase() === wanted)
  );
}

/** Positions of the examples that pass, in order. A face that is not here yet passes unless searched. */
export function listed(
  count: number,
  face: (position: number) => Face | null,
  dynamics: Dynamics | null,
  question: Question,
): number[] {
  const now = dynamics ? indexBefore(dynamics.epochs, question.epoch) : 0;
  const ends =
    dynamics && question.range
      ? question.range.map((epoch) => indexBefore(dynamics.epochs, epoch))
      : null;
  const chosen = question.filter === "selected" ? new Set(question.selected_tests) : null;
  const needsFace =
    question.search.trim() !== "" ||
    question.label !== null ||
    question.group !== null ||
    chosen !== null;
  const out: number[] = [];
  for (let position = 0; position < count; position++) {
    if (dynamics) {
      const right = dynamics.correct(now, position);
      if (question.filter === "right" && !right) continue;
      if (question.filter === "wrong" && right) continue;
      if (
        question.filter === "flipped" &&
        (!ends || dynamics.correct(ends[0]!, position) === dynamics.correct(ends[1]!, position))
      )
        continue;
    }
    if (needsFace) {
      const known = face(position);
      if (!known || !matches(known, question.search)) continue;
      if (question.label !== null && known.label !== question.label) continue;
      if (question.group !== null && known.group !== question.group) continue;
      if (chosen && !chosen.has(known.id)) continue;
    }
    out.push(position);
  }
  return dynamics ? sorted(out, dynamics, now, question.sort) : out;
}

function sorted(positions: number[], dynamics: Dynamics, now: number, sort: string): number[] {
  const never = dynamics.epochs.length;
  const keys: { [sort: string]: (position: number) => number } = {
    margin: (p) => dynamics.margin(now, p),
    "margin-high": (p) => -dynamics.margin(now, p),
    learned: (p) => {
      const i = dynamics.firstRight(p);
      return i < 0 ? never : i;
    },
    "learned-late": (p) => {
      const i = dynamics.firstRight(p);
      return i < 0 ? -never : -i;
    },
    hardest: (p) => dynamics.meanMargin(p),
  };
  const key = keys[sort];
  if (!key) return positions;
  const values = new Map(
    positions.map((p) => {
      const v = key(p);
      return [p, Number.isNaN(v) ? Infinity : v];
    }),
  );
  return positions.sort((a, b) => values.get(a)! - values.get(b)! || a - b);
}
