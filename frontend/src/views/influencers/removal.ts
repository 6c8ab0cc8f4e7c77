// The random-removal band: what retraining without some examples did to the selected test example,
// beside removing as many at random, and what the scores had said it would do.
import type { Blocks } from "../../data/blocks";
import { indexNearest } from "../../data/epochs";
import { Waiting } from "../../ui/await";
import { el, put, say, svg } from "../../ui/dom";
import { moment, nats, plural } from "../../ui/format";
import type { Context } from "../../view";
import { linear } from "../timeline/axis";

const HEIGHT = 22,
  PAD = 8,
  MIDDLE = 11;

export interface Checked {
  readonly epoch: number;
  readonly change: number;
  readonly low: number;
  readonly high: number;
  readonly predicted: number;
  readonly removed: number;
  readonly draws: number;
}

/** What was checked of a test example nearest to a moment; null where nothing was. Pure. */
export function checkedAt(
  blocks: Blocks,
  method: string,
  test: number,
  when: number,
): Checked | null {
  const row = Array.from(blocks.numbers("test")).indexOf(test),
    epochs = blocks.numbers("epoch");
  if (row < 0 || !epochs.length) return null;
  const near = indexNearest(epochs, when),
    i = row * epochs.length + near,
    change = blocks.numbers("change")[i]!;
  if (!Number.isFinite(change)) return null;
  return {
    epoch: epochs[near]!,
    change,
    low: blocks.numbers("low")[i]!,
    high: blocks.numbers("high")[i]!,
    predicted: blocks.maybe(`predicted/${method}`)?.[i] ?? NaN,
    removed: blocks.numbers("removed").length,
    draws: blocks.numbers("draws")[0] ?? 0,
  };
}

export class Removal {
  readonly element: HTMLElement;
  #context: Context;
  #waiting: Waiting;
  #picture: SVGSVGElement;
  #band: SVGRectElement;
  #zero: SVGLineElement;
  #change: SVGPathElement;
  #predicted: SVGPathElement;
  #text: HTMLElement;
  #width = 0;

  constructor(context: Context) {
    this.#context = context;
    this.#waiting = new Waiting(context);
    this.#band = svg("rect", { class: "dg-removal-band", y: 3, height: HEIGHT - 6, rx: 3 });
    this.#zero = svg("line", { class: "dg-mark", y1: 0, y2: HEIGHT });
    this.#predicted = svg("path", { class: "dg-removal-predicted" });
    this.#change = svg("path", { class: "dg-removal-change" });
    this.#picture = svg(
      "svg",
      { height: HEIGHT, width: "100%", "aria-hidden": "true" },
      this.#band,
      this.#zero,
      this.#predicted,
      this.#change,
    );
    this.#text = el("p", { class: "dg-small", "data-testid": "dg-removal" });
    this.element = el("div", { class: "dg-removal", hidden: true }, this.#picture, this.#text);
    if (context.record.attrs.has_removal)
      context.onSize(this.#picture, (width) => {
        this.#width = width;
        context.redraw();
      });
  }

  update(method: string, test: number, when: number): void {
    const { record } = this.#context,
      there = record.attrs.has_removal === true;
    this.element.hidden = !there;
    const blocks = there ? this.#waiting.take("removal/all") : null;
    if (!blocks) return;
    const found = checkedAt(blocks, method, test, when);
    put(this.#picture, { visibility: found ? null : "hidden" });
    if (!found) {
      say(this.#text, "This test example was not in the removal check.");
      return;
    }
    const { change, low, high, predicted } = found;
    say(
      this.#text,
      `Retrained without ${plural(found.removed, "example")}: margin ${nats(change)} at ${record.unit} ${moment(found.epoch)}${Number.isFinite(predicted) ? `, scores said ${nats(predicted)}` : ""}; as many at random, ${plural(found.draws, "draw")}: ${nats(low)} to ${nats(high)}.`,
    );
    if (!this.#width) return;
    const most = Math.max(
        ...[change, low, high, predicted].filter(Number.isFinite).map(Math.abs),
        1e-9,
      ),
      x = linear(-most, most, PAD, this.#width - PAD);
    put(this.#picture, { viewBox: `0 0 ${this.#width} ${HEIGHT}` });
    put(this.#band, { x: x(low).toFixed(1), width: Math.max(1, x(high) - x(low)).toFixed(1) });
    put(this.#zero, { x1: x(0), x2: x(0) });
    put(this.#change, { d: `M${x(change).toFixed(1)},${MIDDLE - 6}l6,6l-6,6l-6,-6z` });
    put(
      this.#predicted,
      Number.isFinite(predicted)
        ? { d: `M${x(predicted).toFixed(1)},${MIDDLE - 6}v12`, visibility: null }
        : { visibility: "hidden" },
    );
  }

  destroy(): void {
    this.#waiting.destroy();
  }
}
