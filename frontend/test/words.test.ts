import assert from "node:assert/strict";
import test from "node:test";
import { wordsFor } from "../src/ui/words";

const said = (level: "red" | "amber" | "green" | "grey"): string => {
  const words = wordsFor({ level, text: "", detail: "" });
  return [
    ...Object.values(words).filter((word) => typeof word === "string"),
    words.low("−2"),
    words.high("+2"),
    words.low(""),
    words.high(""),
  ].join(" | ");
};
const CAUSES = /help|hurt|rais|lower|influen|teach|caus|because/i;

test("a red light leaves no word that puts a score as a cause", () =>
  assert.doesNotMatch(said("red"), CAUSES));
test("the other lights keep the plain words", () => {
  for (const level of ["amber", "green", "grey"] as const) assert.match(said(level), CAUSES);
});
