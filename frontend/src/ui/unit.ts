// A score as a number, which has a unit or is not shown: on the board stand ranks and shares. Pure.
import type { Method } from "../data/sent";

/** "score +2.8e−4 nats", or "" where nobody says what the scores are in. */
export function scoreWords(value: number, method: Method | null): string {
  if (!Number.isFinite(value)) return "";
  if (!method?.unit) return `${method?.label ?? "score"} ${inDigits(value)}, in no known unit`;
  return `${method.label} ${inDigits(value)} ${method.unit}`;
}

/** Three significant digits and a true minus. */
export function inDigits(value: number): string {
  const [digits, power] = Math.abs(value).toExponential(2).split("e") as [string, string];
  const plain = Number(power) >= -3 && Number(power) < 6;
  const text = plain
    ? String(Number(Math.abs(value).toPrecision(3)))
    : `${digits} × 10${raised(power)}`;
  return (value < 0 ? "−" : value > 0 ? "+" : "") + text;
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function raised(power: string): string {
  const size = String(Math.abs(Number(power)));
  return (Number(power) < 0 ? "⁻" : "") + [...size].map((digit) => RAISED[Number(digit)]).join("");
}

/** A share of the largest, signed: "+62 %". */
export function share(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const whole = Math.round(Math.abs(value) * 100);
  return `${whole === 0 ? "" : value < 0 ? "−" : "+"}${whole} %`;
}
