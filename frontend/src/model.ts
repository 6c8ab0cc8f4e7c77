// The part of anywidget's model that the board uses; page.ts has a stand-in without a kernel.
export interface Model {
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(event: string, callback: (...values: unknown[]) => void): void;
  off(event: string, callback?: (...values: unknown[]) => void): void;
  /** True on a saved page, where no kernel will ever answer. */
  readonly isStatic?: boolean;
}
