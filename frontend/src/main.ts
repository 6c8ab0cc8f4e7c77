// The entry: one anywidget model is one board. A session outlives its renderings, so that the same
// board shown in two cells is one board.
//
// To add a view:
//   1. Write views/<name>.ts (a folder if it grows past 250 lines) exporting a `ViewKind`: its name,
//      title, slot ("left", "middle", "right", "tabs" ...), what it needs (`has`), and `make`.
//   2. `make(context, slot)` builds DOM with ui/dom.ts, once, inside `slot`, and returns
//      `update(state)` and `destroy()`. `update` is called at most once a frame and reads
//      `state.selection`; acts of the user call `context.store.set({...})`, "passing" while dragging.
//      Pass `context.signal` to every addEventListener and wrap callbacks in `context.guard`.
//   3. Add it to the list in views/registry.ts, its styles to styles/<name>.css and that to board.css.
//   4. Data: small blocks travel in the preview (preview.py), large ones on demand: `record.source
//      .get("family/member")` awaits what `serve.py` answers for that family; `peek` is what is here.
//      to_html embeds the same answers (page.py), so a view that reads through `source` works offline.
//   5. Pure logic goes in a file of its own, with a test in test/. `npm run all` checks, tests, builds.
import { mountBoard } from "./board";
import type { Model } from "./model";
import { openPage as openPageWith } from "./page";
import { Session } from "./session";
import "./styles/board.css";

interface Shown {
  model: Model;
  el: HTMLElement;
  signal?: AbortSignal;
}

export default function board() {
  let session: Session | null = null;
  return {
    initialize({ model }: { model: Model }) {
      session = new Session(model);
      return () => {
        session?.destroy();
        session = null;
      };
    },
    render({ model, el }: Shown) {
      return mountBoard((session ??= new Session(model)), el);
    },
  };
}

export function openPage(): Promise<void> {
  return openPageWith(board());
}
