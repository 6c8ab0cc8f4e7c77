// One unit for all the scores of a panel, so that they compare at a glance: "+2.84" of "× 10⁻³". Pure.
export interface Unit {
  readonly power: number;
  readonly digits: number;
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** The unit in which the largest of some scores has three digits; plain from a hundredth to a thousand. */
export function unitOf(largest: number): Unit {
  if (!Number.isFinite(largest) || largest <= 0) return { power: 0, digits: 2 };
  const order = Math.floor(Math.log10(largest) + 1e-9),
    power = largest >= 0.01 && largest < 1000 ? 0 : 3 * Math.floor(order / 3);
  return { power, digits: Math.min(4, Math.max(0, 2 - (order - power))) };
}

/** A score with its sign and a true minus, without its unit. */
export function inUnit(value: number, { power, digits }: Unit): string {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value / 10 ** power).toFixed(digits);
  return (Number(text) === 0 ? "" : value < 0 ? "−" : "+") + text;
}

/** "× 10⁻³", or nothing for the plain unit. */
export function unitName({ power }: Unit): string {
  if (!power) return "";
  return `× 10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((digit) => RAISED[Number(digit)]).join("")}`;
}
