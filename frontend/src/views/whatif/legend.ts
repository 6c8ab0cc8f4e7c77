// What the curves of an answer are, and what they say at the moment shown.
import type { WhatIf } from "../../data/asking";
import { valueAt } from "../../data/epochs";
import { el, say } from "../../ui/dom";
import { percent } from "../../ui/format";
import { curvesOf, said } from "./plot";

const KEYS = [
  ["now", "as recorded"],
  ["expected", "expected"],
  ["random", "as many at random"],
  ["true", "retrained"],
] as const;

export class Legend {
  readonly element = el("div", { class: "dg-legend" });
  #keys = new Map<string, { element: HTMLElement; value: HTMLElement }>();
  #accuracy = el("span", { class: "dg-key dg-whatif-accuracy" });

  constructor() {
    for (const [kind, name] of KEYS) {
      const value = el("b"),
        about = { class: `dg-key dg-whatif-key dg-whatif-key-${kind}` },
        element = el("span", about, el("i"), name, value);
      this.#keys.set(kind, { element, value });
      this.element.append(element);
    }
    this.element.append(this.#accuracy);
  }

  update(answer: WhatIf, when: number): void {
    const curves = curvesOf(answer),
      accuracy = curvesOf(answer, true),
      at = (values: Float64Array): string => said(curves.epochs, values, when);
    const text: { [kind: string]: string } = {
      now: at(curves.now),
      expected: range(at(curves.expected), at(curves.low), at(curves.high)),
      random: range("", at(curves.randomLow), at(curves.randomHigh)),
      true: at(curves.true),
    };
    for (const [kind, { element, value }] of this.#keys) {
      element.hidden = !text[kind];
      say(value, text[kind] ?? "");
    }
    const share = (values: Float64Array, name: string): string => {
      const value = values.length ? valueAt(accuracy.epochs, values, when) : NaN;
      return Number.isFinite(value) ? `${percent(value)} ${name}` : "";
    };
    const parts = [
      share(accuracy.now, "as recorded"),
      share(accuracy.expected, "expected"),
      share(accuracy.true, "retrained"),
    ].filter(Boolean);
    this.#accuracy.hidden = parts.length < 2;
    say(this.#accuracy, `test accuracy: ${parts.join(", ")}`);
  }
}

/** "−1.2 (−1.9 to −0.4)", or one of the two. */
export function range(middle: string, low: string, high: string): string {
  if (!low || !high) return middle;
  return middle ? `${middle} (${low} to ${high})` : `${low} to ${high}`;
}
