// What scores are called: causes, unless a check has shown that they predict none. Pure.
import type { Light } from "../data/record";

export interface Words {
  /** What stands before the name of the test example. */
  readonly on: string;
  readonly most: string;
  readonly mostNote: string;
  readonly noneMost: string;
  readonly least: string;
  readonly leastNote: string;
  readonly noneLeast: string;
  readonly gained: string;
  readonly lost: string;
  readonly helps: string;
  /** The ends of a scale, with the score there as text, or "". */
  low(text: string): string;
  high(text: string): string;
}

const CAUSAL: Words = {
  on: "Influence on ",
  most: "Helped most",
  mostNote: "raised the margin",
  noneMost: "Nothing raised it here.",
  least: "Hurt most",
  leastNote: "lowered the margin",
  noneLeast: "Nothing lowered it here.",
  gained: "Gained influence",
  lost: "Lost influence",
  helps: "What helps",
  low: (text) => `hurts ${text}`.trim(),
  high: (text) => `${text} helps`.trim(),
};
const NEUTRAL: Words = {
  on: "Scores for ",
  most: "Scored highest",
  mostNote: "similar to the model",
  noneMost: "No score above zero here.",
  least: "Scored lowest",
  leastNote: "opposed to the model",
  noneLeast: "No score below zero here.",
  gained: "Score rose most",
  lost: "Score fell most",
  helps: "Mean scores for",
  low: (text) => text || "lowest",
  high: (text) => text || "highest",
};

export function wordsFor(light: Light): Words {
  return light.level === "red" ? NEUTRAL : CAUSAL;
}
