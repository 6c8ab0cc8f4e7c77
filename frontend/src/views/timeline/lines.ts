// Which curves the timeline draws: accuracies and their gap where recorded, else losses.
import type { Numbers } from "../../data/blocks";
import type { Record } from "../../data/record";

export interface Line {
  role: "train-line" | "test-line" | "gap-line";
  title: string;
  about: string;
  epochs: Numbers;
  values: ArrayLike<number>;
  format: "share" | "plain";
  /** Drawn only where it is asked for. */
  optional?: boolean;
}

export function linesOf(record: Record): Line[] {
  for (const [measure, format] of [
    ["accuracy", "share"],
    ["loss", "plain"],
  ] as const) {
    const train = record.curve(`train_${measure}`),
      test = record.curve(`test_${measure}`);
    const lines: Line[] = [];
    if (train)
      lines.push({
        role: "train-line",
        title: `train ${measure}`,
        about: `of the training examples at the moment shown`,
        epochs: train.epochs,
        values: train.values,
        format,
      });
    if (test)
      lines.push({
        role: "test-line",
        title: `test ${measure}`,
        about: `of the test examples at the moment shown`,
        epochs: test.epochs,
        values: test.values,
        format,
      });
    if (train && test && measure === "accuracy") {
      // a model-level proxy: what it gets right on the examples it saw and not on the others
      lines.push({
        role: "gap-line",
        title: "train − test",
        about: "what the model gets right only where it saw the answer; press to draw it",
        optional: true,
        epochs: train.epochs,
        values: Array.from(train.values, (v, i) => v - test.values[i]!),
        format,
      });
    }
    if (lines.length) return lines;
  }
  return [];
}

/** The upper end of the vertical axis: 1 for shares, the largest finite value otherwise. */
export function ceiling(lines: readonly Line[]): number {
  if (!lines.length || lines[0]!.format === "share") return 1;
  let most = 0;
  for (const line of lines)
    for (let i = 0; i < line.values.length; i++)
      if (Number.isFinite(line.values[i]!)) most = Math.max(most, line.values[i]!);
  return most || 1;
}
