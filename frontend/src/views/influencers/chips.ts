// What a training example has in common with the test example, in a few words. Pure.
import type { Face } from "../../data/examples";
import { partsOf } from "../../ui/face";
import { clipped } from "../../ui/format";

export interface Chip {
  readonly text: string;
  readonly kind: "same" | "plain" | "warn";
  readonly about?: string;
}

// several chips share one line of a card
const SHORT: { [flag: string]: string } = { "suspected mislabel": "mislabel?" };

const words = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/** Words both short texts hold, apart from the label itself. */
export function sharedWords(a: Face, b: Face): string[] {
  if (!a.text || !b.text) return [];
  const mine = words(a.text),
    theirs = new Set(words(b.text));
  // in longer texts a common word says nothing
  if (mine.length > 12 || theirs.size > 12) return [];
  const label = new Set([a.label.toLowerCase(), b.label.toLowerCase()]);
  return [...new Set(mine)].filter((word) => theirs.has(word) && !label.has(word));
}

/** Whether the label stands in the name already, as beside a picture. */
export function isNamedByLabel(face: Face): boolean {
  return face.label !== "" && partsOf(face).rest === face.label;
}

/** Whether a text says its label itself, as "14 + 18 = 1" does. */
function endsIn(text: string | null, label: string): boolean {
  const last = text ? words(text).pop() : undefined;
  return last !== undefined && last === label.toLowerCase();
}

/** The most telling first: a card has room for two or three. */
export function chipsOf(test: Face | null, train: Face | null): Chip[] {
  if (!train) return [];
  const chips: Chip[] = train.flags.map((flag) => ({
    text: SHORT[flag] ?? flag,
    kind: "warn" as const,
    about: flag,
  }));
  if (!test) return chips;
  const said = chips.length;
  if (train.group !== null && train.group !== test.group)
    chips.push({
      text: /^\W*\d|^.?$/.test(train.group)
        ? `group ${clipped(train.group, 20)}`
        : clipped(train.group, 26),
      kind: "plain",
      about: `group ${clipped(train.group, 200)}`,
    });
  // the label itself: filled where it is the test example's own
  if (train.labelCode >= 0 && !endsIn(train.text, train.label) && !isNamedByLabel(train)) {
    const same = train.labelCode === test.labelCode;
    chips.push({
      text: clipped(train.label, 24),
      kind: same ? "same" : "plain",
      about: `label ${clipped(train.label, 200)}, ${same ? "the same" : "another"}`,
    });
  }
  const shared = sharedWords(test, train);
  if (shared.length)
    chips.push({ text: `shares ${clipped(shared.slice(0, 2).join(", "), 24)}`, kind: "plain" });
  else if (!train.text)
    for (const [name, value] of train.cells) {
      if (/label/.test(name)) continue; // said already
      if (test.cells.some(([other, theirs]) => other === name && theirs === value)) {
        chips.push({ text: `same ${clipped(name, 20)}`, kind: "plain" });
        break;
      }
    }
  if (Number.isFinite(train.memorization))
    chips.splice(Math.min(chips.length, said + 1), 0, {
      text: `mem ${train.memorization.toFixed(2)}`,
      kind: "plain",
      about: `memorization ${train.memorization.toFixed(2)}: 0 is learned from others, 1 is memorized`,
    });
  return chips.slice(0, 4);
}
