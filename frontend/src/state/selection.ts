// The one selection of a board: an immutable value. Python's twin is ../../../selection.py.

export type Split = "train" | "test";
export interface Selection {
  /** A recorded epoch at rest; anything between while playing or dragging. */
  readonly epoch: number;
  readonly test: number | null;
  /** A question asked of the run, in place of the test example: "set/question". */
  readonly query: string | null;
  readonly train: number | null;
  /** Ids chosen by lasso or rectangle, ascending. */
  readonly selected: readonly number[];
  readonly selected_tests: readonly number[];
  /** The epochs called before and after. */
  readonly range: readonly [number, number] | null;
  readonly method: string | null;
  readonly layer: string | null;
  readonly search: string;
  readonly filter: string;
  readonly label: string | null;
  readonly group: string | null;
  readonly sort: string;
  readonly colour: string;
  readonly tab: string | null;
  /** Under the pointer; stays in the browser. */
  readonly hovered: { readonly split: Split; readonly id: number } | null;
}
export type Patch = { -readonly [K in keyof Selection]?: Selection[K] };

export const EMPTY: Selection = {
  epoch: 0,
  test: null,
  query: null,
  train: null,
  selected: [],
  selected_tests: [],
  range: null,
  method: null,
  layer: null,
  search: "",
  filter: "all",
  label: null,
  group: null,
  sort: "order",
  colour: "label",
  tab: null,
  hovered: null,
};

/** The test example that all views are about: none while a question is asked in its place. */
export const testOf = (selection: Selection): number | null =>
  selection.query === null ? selection.test : null;

const KEYS = Object.keys(EMPTY) as (keyof Selection)[];
/** What Python hears of. */
export const WIRE_KEYS = KEYS.filter((key) => key !== "hovered");

function equal(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((v, i) => Object.is(v, b[i]));
  if (a && b && typeof a === "object" && typeof b === "object")
    return JSON.stringify(a) === JSON.stringify(b);
  return false;
}

/** The keys on which two selections differ. */
export function changed(a: Selection, b: Selection): Set<keyof Selection> {
  return new Set(KEYS.filter((key) => !equal(a[key], b[key])));
}

/** `a` with the patch applied, or `a` itself where nothing would change. */
export function patched(a: Selection, patch: Patch): Selection {
  // who chooses a test example asks about it
  if (typeof patch.test === "number" && !("query" in patch)) patch = { ...patch, query: null };
  const keys = (Object.keys(patch) as (keyof Selection)[]).filter(
    (key) => key in EMPTY && !equal(a[key], patch[key]),
  );
  return keys.length
    ? Object.freeze({
        ...a,
        ...Object.fromEntries(keys.map((key) => [key, patch[key]])),
      } as Selection)
    : a;
}

// A large set of ids travels as a bitset in base64: 60,000 examples are 10 KB whatever is chosen.
const LISTED = 256;
export type WireIds = readonly number[] | { bits: string };

export function packIds(ids: readonly number[]): WireIds {
  if (ids.length <= LISTED) return ids;
  const bytes = new Uint8Array((ids[ids.length - 1]! >> 3) + 1);
  for (const id of ids) bytes[id >> 3]! |= 1 << (id & 7);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192)
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  const packed = btoa(text);
  // sparse and huge ids would make a longer bitset than the list
  return packed.length < ids.length * 8 ? { bits: packed } : ids;
}

export function unpackIds(wire: WireIds): number[] {
  if (!("bits" in wire)) return [...wire];
  const text = atob(wire.bits),
    out: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) out.push(i * 8 + bit);
  }
  return out;
}

export type Wire = Record<string, unknown>;

export function toWire(selection: Selection): Wire {
  const wire: Wire = {};
  for (const key of WIRE_KEYS) wire[key] = selection[key];
  wire.selected = packIds(selection.selected);
  wire.selected_tests = packIds(selection.selected_tests);
  return wire;
}

/** The patch a value from Python stands for; keys it lacks stay as they are. */
export function fromWire(wire: Wire): Patch {
  const patch: Record<string, unknown> = {};
  for (const key of WIRE_KEYS) if (key in wire) patch[key] = wire[key];
  if ("selected" in wire) patch.selected = unpackIds(wire.selected as WireIds);
  if ("selected_tests" in wire) patch.selected_tests = unpackIds(wire.selected_tests as WireIds);
  return patch as Patch;
}
