// A saved page: the same board with a stand-in for the kernel's model. Nothing leaves the page.
import type { Model } from "./model";

interface Saved {
  state: { [key: string]: unknown };
  theme: string;
}
interface Widget {
  initialize(options: { model: Model }): unknown;
  render(options: { model: Model; el: HTMLElement }): unknown;
}

class PageModel implements Model {
  readonly isStatic = true;
  #state: { [key: string]: unknown };
  #listeners = new Map<string, Set<(...values: unknown[]) => void>>();

  constructor(state: { [key: string]: unknown }) {
    this.#state = state;
  }
  get(key: string): unknown {
    return this.#state[key];
  }
  set(key: string, value: unknown): void {
    if (Object.is(this.#state[key], value)) return;
    this.#state[key] = value;
    for (const listener of [...(this.#listeners.get(`change:${key}`) ?? [])]) listener(this, value);
  }
  save_changes(): void {
    /* the page is all there is */
  }
  send(): void {
    /* nobody listens; sources ask isStatic first */
  }
  on(event: string, callback: (...values: unknown[]) => void): void {
    const known = this.#listeners.get(event);
    if (known) known.add(callback);
    else this.#listeners.set(event, new Set([callback]));
  }
  off(event: string, callback?: (...values: unknown[]) => void): void {
    if (callback) this.#listeners.get(event)?.delete(callback);
    else this.#listeners.delete(event);
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  // browsers of 2025 and later do it themselves, a hundred times faster
  const { fromBase64: own } = Uint8Array as unknown as {
    fromBase64?: (text: string) => Uint8Array<ArrayBuffer>;
  };
  if (own) return own.call(Uint8Array, text);
  const binary = atob(text.trim()),
    bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function unpack(text: string): Promise<DataView> {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new DataView(await new Response(stream).arrayBuffer());
}

export async function openPage(widget: Widget): Promise<void> {
  const held = (id: string): string => document.getElementById(id)?.textContent ?? "";
  const host = document.getElementById("dg-host") as HTMLElement;
  try {
    const saved = JSON.parse(held("dg-state")) as Saved;
    if (saved.theme !== "auto") document.documentElement.dataset.dgTheme = saved.theme;
    const model = new PageModel({ ...saved.state, _preview: await unpack(held("dg-preview")) });
    widget.initialize({ model });
    widget.render({ model, el: host });
  } catch (error) {
    host.textContent = `This page could not be opened: ${error instanceof Error ? error.message : String(error)}`;
    throw error;
  } finally {
    document.body.dataset.ready = "1";
  }
}
