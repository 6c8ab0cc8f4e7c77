// One rendering of a board: slots, views, one redraw a frame, errors where people see them.
import { focusedIn, keepKeys } from "./focus";
import { keysOf } from "./keys";
import type { Session } from "./session";
import { hideStill } from "./still";
import { el, say } from "./ui/dom";
import { followTheme, type Theme } from "./ui/theme";
import type { Context, Slot, State, View, ViewKind } from "./view";
import { KINDS } from "./views/registry";
import { Tabs } from "./views/tabs";

const MAIN: Slot[] = ["left", "middle", "right"];
// what the hand follows; where frames come late or cost too much, the others take turns until it rests
const FIRST: Slot[] = ["head", "timeline", "right"];
const LATE_MS = 21,
  COSTLY_MS = 12,
  TURN_MS = 30;

export function mountBoard(session: Session, host: HTMLElement): () => void {
  const root = el("div", { class: "dg-board", role: "region", "data-testid": "dg-board" });
  host.append(root);
  host.classList.add("dg-host");
  const shown = new AbortController();
  keepKeys(root, shown.signal);
  let views: { view: View; first: boolean }[] = [],
    life = new AbortController(),
    theme: Theme,
    frame = 0,
    moving = false;
  let asked = 0,
    late = false,
    turn = 0,
    turned = 0;
  let resting: ReturnType<typeof setTimeout> | undefined, arrived: typeof resting;
  const errors = el("div", { class: "dg-errors", role: "alert", "data-testid": "dg-errors" });
  const notice = el(
    "p",
    { class: "dg-notice", role: "status", "data-testid": "dg-notice", hidden: true },
    "No kernel answers this board: it shows what it has, linked as before. Run the cell again for the rest.",
  );
  const live = el("div", { class: "dg-hidden", "aria-live": "polite" });

  const report = (error: unknown): void => {
    const text = error instanceof Error ? error.message : String(error);
    if (![...errors.children].some((line) => line.firstChild?.textContent === text)) {
      const close = el(
        "button",
        { type: "button", class: "dg-quiet", "aria-label": "Dismiss this error" },
        "×",
      );
      const line = el("div", { class: "dg-error" }, el("span", {}, text), close);
      close.addEventListener("click", () => line.remove());
      errors.append(line);
      while (errors.children.length > 4) errors.firstChild?.remove();
    }
    console.error(error);
  };
  const guard =
    <A extends unknown[]>(callback: (...values: A) => void) =>
    (...values: A): void => {
      try {
        callback(...values);
      } catch (error) {
        report(error);
      }
    };

  const draw = (): void => {
    frame = 0;
    const now = performance.now(),
      state: State = { selection: session.store.value, moving, theme };
    late = moving && (late || now - asked > LATE_MS);
    const others = views.filter(({ first }) => !first),
      next = now - turned > TURN_MS ? others[turn++ % (others.length || 1)] : null;
    if (next) turned = now;
    for (const shown of views)
      if (!late || shown.first || shown === next)
        try {
          shown.view.update(state);
        } catch (error) {
          report(error);
        }
    // runs when this frame is laid out and painted
    if (moving && !late)
      setTimeout(() => {
        late ||= moving && performance.now() - now > COSTLY_MS;
      });
    root.dataset.epoch = String(session.store.value.epoch);
  };
  const redraw = (): void => {
    if (!frame) {
      asked = performance.now();
      frame = requestAnimationFrame(draw);
    }
  };

  const contextFor = (): Context => ({
    record: session.record,
    isStatic: session.model.isStatic ?? false,
    store: session.store,
    asking: session.asking,
    player: session.player,
    signal: life.signal,
    redraw,
    report,
    guard,
    announce: (text) => say(live, text),
    onSize(element, callback) {
      const observer = new ResizeObserver(
        guard(([entry]) => {
          if (entry) callback(entry.contentRect.width, entry.contentRect.height);
        }),
      );
      observer.observe(element);
      life.signal.addEventListener("abort", () => observer.disconnect());
    },
  });

  const make = (kind: ViewKind, slot: HTMLElement): View | null => {
    try {
      return kind.make(contextFor(), slot);
    } catch (error) {
      report(error);
      slot.append(el("p", { class: "dg-empty" }, `${kind.title} could not be shown.`));
      return null;
    }
  };

  const mount = (): void => {
    life = new AbortController();
    const wanted = session.views,
      record = session.record;
    const kinds = KINDS.filter((kind) =>
      wanted.length ? wanted.includes(kind.name) : kind.slot === "tabs" || kind.has(record),
    );
    root.setAttribute("aria-label", `Training run ${record.attrs.name}`);
    root.dataset.slots = [...new Set(kinds.map((kind) => kind.slot))].join(" ");
    const main = el("div", { class: "dg-main" });
    const built: [ViewKind, HTMLElement][] = [];
    const outer: HTMLElement[] = [];
    for (const kind of kinds) {
      if (kind.slot === "tabs") continue;
      const slot = el("section", {
        class: `dg-slot dg-${kind.slot}`,
        "data-view": kind.name,
        "aria-label": kind.title,
      });
      (MAIN.includes(kind.slot) ? main : { append: (s: HTMLElement) => outer.push(s) }).append(
        slot,
      );
      built.push([kind, slot]);
    }
    main.dataset.count = String(main.children.length);
    root.replaceChildren(...outer, ...(main.children.length ? [main] : []));
    theme = followTheme(root, life.signal, (next) => {
      theme = next;
      redraw();
    });
    views = built.flatMap(([kind, slot]) => {
      const view = make(kind, slot);
      return view ? [{ view, first: FIRST.includes(kind.slot) }] : [];
    });
    const tabs = kinds.filter((kind) => kind.slot === "tabs");
    if (tabs.length) {
      const strip = new Tabs(tabs, contextFor(), make);
      root.append(strip.element);
      views.push({ view: strip, first: false });
    }
    root.append(notice, errors, live);
    root.addEventListener(
      "keydown",
      guard((event) => keysOf(event, session)),
      { signal: life.signal },
    );
    draw();
    // what is not needed for the first picture is prepared when that is painted
    if (!session.model.isStatic)
      arrived = setTimeout(() => session.model.send({ kind: "shown" }), 100);
  };
  const unmount = (): void => {
    clearTimeout(arrived);
    cancelAnimationFrame(frame);
    frame = 0;
    life.abort();
    for (const { view } of views)
      try {
        view.destroy();
      } catch (error) {
        report(error);
      }
    views = [];
  };

  const lose = (): void => {
    notice.hidden = !session.lost;
  };
  session.shown();
  hideStill(root, () => session.model.get("_still") as string | undefined, shown.signal);
  mount();
  lose();
  const stops = [
    session.store.listen(({ how, value, before }) => {
      clearTimeout(resting);
      moving =
        how === "passing" &&
        (moving || value.epoch !== before.epoch || value.range !== before.range);
      if (moving)
        resting = setTimeout(() => {
          moving = false;
          redraw();
        }, 150);
      redraw();
    }),
    session.player.listen(redraw),
    session.onLoss(lose),
    session.listen(() => {
      const refocus = focused(root);
      unmount();
      mount();
      refocus();
    }),
  ];
  const told = (): void => {
    const text = session.model.get("_error") as string | undefined;
    if (text) report(text);
  };
  session.model.on("change:_error", told);
  told();
  return () => {
    clearTimeout(resting);
    unmount();
    for (const stop of stops) stop();
    session.model.off("change:_error", told);
    shown.abort();
    root.remove();
    session.hidden();
  };
}

/** Gives the focus back after the board was built anew: else the next key would be the notebook's. */
function focused(root: HTMLElement): () => void {
  const active = focusedIn(root) as HTMLElement | null;
  if (!active || !root.contains(active))
    return () => {
      /* it was elsewhere */
    };
  const name = active.dataset.testid ? "data-testid" : "aria-label",
    value = active.getAttribute(name);
  const all = (): HTMLElement[] =>
    [...root.querySelectorAll<HTMLElement>(`[${name}]`)].filter(
      (one) => one.getAttribute(name) === value,
    );
  const at = all().indexOf(active);
  return () =>
    (all()[at] ?? root.querySelector<HTMLElement>("[role=slider]"))?.focus({ preventScroll: true });
}
