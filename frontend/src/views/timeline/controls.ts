// Play, pause, step, speed, loop and range; and the legend that is also the readout.
import { valueAt } from "../../data/epochs";
import type { Record } from "../../data/record";
import { SPEEDS } from "../../state/player";
import { iconButton, menu } from "../../ui/controls";
import { el, put, say } from "../../ui/dom";
import { percent } from "../../ui/format";
import { turnInto } from "../../ui/icons";
import type { Context, State } from "../../view";
import type { Line } from "./lines";
import { defaultRange } from "./phases";

export class Controls {
  readonly element: HTMLElement;
  #play: HTMLButtonElement;
  #loop: HTMLButtonElement;
  #range: HTMLButtonElement;
  #speed: HTMLSelectElement;
  #context: Context;
  #values: { line: Line; value: HTMLElement }[];

  /** `chosen`: an optional curve was asked for or dismissed; `stretched`: the early moments were. */
  constructor(
    context: Context,
    lines: readonly Line[],
    chosen: (line: Line, on: boolean) => void,
    stretched: (on: boolean) => void,
  ) {
    this.#context = context;
    const { player, store, record, signal, guard } = context;
    this.#play = iconButton("play", "Play (Space)", "dg-play");
    this.#play.classList.add("dg-play");
    const back = iconButton("back", `Previous recorded ${record.unit} (Left arrow)`, "dg-back");
    const forward = iconButton(
      "forward",
      `Next recorded ${record.unit} (Right arrow)`,
      "dg-forward",
    );
    this.#loop = iconButton("loop", "Loop", "dg-loop");
    this.#range = iconButton(
      "range",
      "Compare two moments: set or clear the range (or Shift-drag; [ and ] set its ends)",
      "dg-range",
    );
    this.#speed = menu(
      "Speed",
      SPEEDS.map((s) => ({ value: String(s), text: `${s}×` })),
      "dg-speed",
    );
    const on = (element: Element, act: () => void, event = "click"): void =>
      element.addEventListener(event, guard(act), { signal });
    on(this.#play, () => player.toggle());
    on(back, () => player.step(-1));
    on(forward, () => player.step(1));
    on(this.#loop, () => player.set({ loop: !player.loop }));
    on(this.#speed, () => player.set({ speed: Number(this.#speed.value) }), "change");
    on(this.#range, () => store.set({ range: store.value.range ? null : defaultRange(record) }));
    const early = el(
      "button",
      {
        type: "button",
        class: "dg-chip",
        "aria-pressed": "false",
        title: "Give the first moments more room: a logarithmic time axis",
        "data-testid": "dg-log",
      },
      "log",
    );
    on(early, () => stretched(toggled(early)));
    const still = record.epochs.length < 2;
    for (const button of [this.#play, back, forward, this.#loop, this.#range])
      button.disabled = still;
    this.#speed.disabled = still;
    this.#values = lines.map((line) => ({ line, value: el("b") }));
    this.element = el(
      "div",
      { class: "dg-controls" },
      el(
        "div",
        { class: "dg-transport" },
        back,
        this.#play,
        forward,
        this.#speed,
        this.#loop,
        this.#range,
        early,
      ),
      el(
        "div",
        { class: "dg-legend", "data-testid": "dg-readout" },
        ...this.#values.map(({ line, value }) => {
          const about = { class: `dg-key dg-${line.role}`, title: `${line.title}: ${line.about}` },
            parts = [el("i"), line.title, value];
          if (!line.optional) return el("span", about, ...parts);
          const key = el(
            "button",
            { ...about, type: "button", "aria-pressed": "false", "data-testid": "dg-optional" },
            ...parts,
          );
          on(key, () => chosen(line, toggled(key)));
          return key;
        }),
        ...tickKeys(record),
      ),
    );
  }

  update({ selection }: State): void {
    const { player } = this.#context;
    turnInto(this.#play, player.playing ? "pause" : "play");
    put(this.#play, {
      "aria-label": player.playing ? "Pause (Space)" : "Play (Space)",
      title: player.playing ? "Pause (Space)" : "Play (Space)",
    });
    put(this.#loop, { "aria-pressed": String(player.loop) });
    put(this.#range, { "aria-pressed": String(selection.range !== null) });
    this.#speed.value = String(player.speed);
    for (const { line, value } of this.#values)
      say(
        value,
        line.format === "share"
          ? percent(valueAt(line.epochs, line.values, selection.epoch))
          : valueAt(line.epochs, line.values, selection.epoch).toPrecision(3),
      );
  }
}

function toggled(button: HTMLElement): boolean {
  const on = button.getAttribute("aria-pressed") !== "true";
  put(button, { "aria-pressed": String(on) });
  return on;
}

/** What the small marks under the curves are. */
function tickKeys(record: Record): HTMLElement[] {
  const key = (kind: string, text: string, about: string): HTMLElement =>
      el("span", { class: `dg-key dg-tick-key dg-key-${kind}`, title: about }, el("i"), text),
    keys = [key("recorded", "recorded", `a short tick: a recorded ${record.unit}`)];
  if (record.attrs.methods.length)
    keys.push(key("scored", "scored", `a tall tick: a recorded ${record.unit} with scores`));
  if (record.attrs.marks.some((mark) => mark.low !== undefined))
    keys.push(
      key(
        "interval",
        "interval",
        "the grey bar: the 90 % interval of when half of the test examples were right",
      ),
    );
  return keys;
}
