// What the curves of an answer are, and what they say at the moment shown.
import type { WhatIf } from "../../data/asking";
import { el, say } from "../../ui/dom";
import { nats, percent } from "../../ui/format";
import { at, curvesOf } from "./plot";

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

  /** `scored`: where something could be expected. */
  update(answer: WhatIf, when: number, scored: ArrayLike<number>): void {
    const curves = curvesOf(answer),
      accuracy = curvesOf(answer, true);
    const said = (values: Float64Array, gaps: ArrayLike<number> = []): string => {
      const value = at(curves.epochs, values, when, gaps);
      return Number.isFinite(value) ? nats(value) : "";
    };
    const text: { [kind: string]: string } = {
      now: said(curves.now),
      expected: range(
        said(curves.expected, scored),
        said(curves.low, scored),
        said(curves.high, scored),
      ),
      random: range("", said(curves.randomLow), said(curves.randomHigh)),
      true: said(curves.true),
    };
    for (const [kind, { element, value }] of this.#keys) {
      element.hidden = !text[kind];
      say(value, text[kind] ?? "");
    }
    const share = (values: Float64Array, name: string, gaps: ArrayLike<number> = []): string => {
      const value = at(accuracy.epochs, values, when, gaps);
      return Number.isFinite(value) ? `${percent(value)} ${name}` : "";
    };
    const parts = [
      share(accuracy.now, "as recorded"),
      share(accuracy.expected, "expected", scored),
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
