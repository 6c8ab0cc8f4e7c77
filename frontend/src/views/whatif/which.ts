// Which training examples a question is about. Pure.
import type { TestScores } from "../../data/scores";
import type { Selection } from "../../state/selection";
import { count, plural } from "../../ui/format";
import type { Words } from "../../ui/words";

export interface Choice {
  readonly value: string;
  readonly text: string;
  readonly ids: readonly number[];
}
const TOPS = [1, 4, 8, 16] as const;

/** What may be asked about now, the likeliest first: what is selected, then the tops on screen. */
export function choicesOf(
  { selected, train }: Selection,
  scores: TestScores | null,
  epoch: number,
  words: Words,
): Choice[] {
  const out: Choice[] = [];
  if (selected.length)
    out.push({
      value: "selected",
      text: `the ${selected.length === 1 ? "one" : count(selected.length)} you selected`,
      ids: selected,
    });
  const tops = (side: 0 | 1, name: string): void => {
    const columns = scores?.top(epoch, side) ?? [];
    for (const k of TOPS)
      if (columns.length >= k && (side === 0 || k === 8))
        out.push({
          value: `${side ? "hurt" : "helped"}:${k}`,
          text: `the ${k === 1 ? "one" : k} that ${name}`,
          ids: columns.slice(0, k).map((column) => scores!.train[column]!),
        });
  };
  tops(0, words.most.toLowerCase());
  if (train !== null) out.push({ value: "train", text: `#${train}, the one chosen`, ids: [train] });
  tops(1, words.least.toLowerCase());
  return out;
}

/** The choice that stands at first: what is selected, else eight, or as many as there are. */
export function firstOf(choices: readonly Choice[]): Choice | null {
  const by = (value: string): Choice | undefined => choices.find((one) => one.value === value);
  return by("selected") ?? by("helped:8") ?? by("helped:4") ?? choices[0] ?? null;
}

/** How long a job will still take, in words. */
export function leftWords(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return "";
  if (seconds < 1.5) return "a moment left";
  if (seconds < 90) return `${Math.round(seconds)} s left`;
  return `${plural(Math.round(seconds / 60), "minute")} left`;
}

/** A list of ids as Python writes it, whole up to so many. */
export function idList(ids: readonly number[], most = 24): string {
  return ids.length > most ? `[${ids.slice(0, most).join(", ")}, ...]` : `[${ids.join(", ")}]`;
}
