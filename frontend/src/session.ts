// What lives as long as a board's model: the record, the selection, the player.
import { Asking } from "./data/asking";
import { Blocks } from "./data/blocks";
import { indexNearest } from "./data/epochs";
import { Record } from "./data/record";
import { Source } from "./data/source";
import type { Model } from "./model";
import { link } from "./state/link";
import { Player } from "./state/player";
import { EMPTY, fromWire, patched, type Wire } from "./state/selection";
import { Store } from "./state/store";

/** Whether a model was restored from a notebook without its kernel: then nobody will ever say so. */
function isCut(model: Model): boolean {
  try {
    // anywidget hides the widget manager's model, which this returns
    const inner = model.set(null as never, null) as unknown as { comm_live?: boolean } | undefined;
    return inner?.comm_live === false;
  } catch {
    return false;
  }
}

export class Session {
  readonly model: Model;
  readonly store: Store;
  readonly player: Player;
  readonly asking: Asking;
  record: Record;
  /** The kernel went away; what is loaded stays on screen. */
  lost = false;
  #listeners = new Set<() => void>();
  #lossListeners = new Set<() => void>();
  #unlink: () => void;
  #renderings = 0;
  #ended = false;

  constructor(model: Model) {
    this.model = model;
    this.record = this.#read();
    this.store = new Store(patched(EMPTY, fromWire((model.get("_selection") ?? {}) as Wire)));
    this.player = new Player(this.store, () => this.record.epochs);
    this.#unlink = link(model, this.store, () => this.record.epochs);
    model.on("change:_preview", this.#reread);
    model.on("change:_lights", this.#turned);
    this.#turned();
    this.lost = !model.isStatic && isCut(model);
    if (this.lost) this.record.source.cut();
    this.asking = new Asking(model, () => !this.lost && !model.isStatic, this.store.value.test);
    // Jupyter's widget manager says so when the line to the kernel is cut, as by a restart
    model.on("comm_live_update", this.#cut);
  }

  /** The names of the views to show; all of them where Python names none. */
  get views(): readonly string[] {
    return (this.model.get("_views") as string[] | undefined) ?? [];
  }

  /** A rendering of the board came on a page, or left it; the kernel is told when the last one did. */
  shown(): void {
    this.#renderings++;
  }
  hidden(): void {
    if (!--this.#renderings && !this.#ended && !this.model.isStatic)
      this.model.send({ kind: "gone" });
  }

  /** Told when the record was read anew. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  onLoss(listener: () => void): () => void {
    this.#lossListeners.add(listener);
    return () => {
      this.#lossListeners.delete(listener);
    };
  }

  destroy(): void {
    this.#ended = true;
    this.model.off("comm_live_update", this.#cut);
    this.#lossListeners.clear();
    this.#unlink();
    this.player.destroy();
    this.asking.destroy();
    this.record.source.destroy();
    this.#listeners.clear();
    this.model.off("change:_preview", this.#reread);
    this.model.off("change:_lights", this.#turned);
  }

  #read(): Record {
    const preview = new Blocks(this.model.get("_preview") as DataView);
    return new Record(preview, new Source(this.model, preview));
  }

  #cut = (): void => {
    this.lost = true;
    this.record.source.cut();
    for (const listener of [...this.#lossListeners]) listener();
  };

  /** The lights that came after the record was read; the next drawing shows them. */
  #turned = (): void => {
    const view = this.model.get("_lights") as DataView | undefined;
    if (view?.byteLength) this.record.turn(new Blocks(view));
  };

  #reread = (): void => {
    const atEnd = this.store.value.epoch === this.record.last;
    this.player.pause();
    this.record.source.destroy();
    this.record = this.#read();
    const { epochs, last } = this.record;
    // who stood at the end of a growing run stays at its end
    if (epochs.length)
      this.store.set(
        { epoch: atEnd ? last : epochs[indexNearest(epochs, this.store.value.epoch)]! },
        "settled",
        "python",
      );
    for (const listener of [...this.#listeners]) listener();
  };
}
