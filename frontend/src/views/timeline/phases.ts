// The phases of a run, from the marks Python put into the record.
import type { Record } from "../../data/record";

export interface Phase {
  name: "memorizing" | "memorized" | "transition" | "generalizing";
  from: number;
  to: number;
}

export function phasesOf(record: Record): Phase[] {
  const at = (kind: string): number | undefined =>
    record.attrs.marks.find((mark) => mark.kind === kind)?.epoch;
  const memorized = at("memorized"),
    generalized = at("generalized");
  const { first, last } = record;
  const half = at("half");
  // generalizing before memorizing is ordinary learning: there is no transition to shade
  if (memorized === undefined || last <= first || (half !== undefined && half <= memorized))
    return [];
  const phases: Phase[] = [
    { name: "memorizing", from: first, to: memorized },
    {
      name: generalized === undefined && half === undefined ? "memorized" : "transition",
      from: memorized,
      to: generalized ?? last,
    },
  ];
  if (generalized !== undefined) phases.push({ name: "generalizing", from: generalized, to: last });
  return phases.filter((phase) => phase.to > phase.from);
}

/** What "before and after" means until somebody says otherwise: the transition, else the run's thirds. */
export function defaultRange(record: Record): [number, number] {
  const transition = phasesOf(record).find((phase) => phase.name === "transition");
  if (transition) return [transition.from, transition.to];
  const { epochs } = record,
    n = epochs.length;
  return [epochs[Math.floor(n / 3)] ?? 0, epochs[Math.floor((2 * n) / 3)] ?? 0];
}
