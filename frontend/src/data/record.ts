// What a board knows of a run: typed access to the preview's blocks. Absent parts are null.
import type { Split } from "../state/selection";
import type { Blocks, Numbers } from "./blocks";
import { Dynamics } from "./dynamics";
import { indexBefore } from "./epochs";
import { Examples } from "./examples";
import { TestScores } from "./scores";
import type { Attrs, Mark, Method, Question } from "./sent";
import type { Source } from "./source";

export type { Attrs, Mark, Method, Question };

export interface Curve {
  name: string;
  epochs: Numbers;
  values: Numbers;
}
/** How far the scores may be believed: a level with its plain words. */
export interface Light {
  level: "green" | "amber" | "red" | "grey";
  text: string;
  detail: string;
}

export class Record {
  readonly attrs: Attrs;
  readonly epochs: Numbers;
  readonly classes: string[];
  readonly groups: string[];
  readonly examples: { readonly train: Examples; readonly test: Examples };
  readonly preview: Blocks;
  readonly source: Source;
  /** Where the lights are read; newer ones may come while a board checks itself. */
  #lights: Blocks;

  constructor(preview: Blocks, source: Source) {
    this.preview = preview;
    this.source = source;
    this.#lights = preview;
    this.attrs = preview.attrs as unknown as Attrs;
    this.epochs = preview.numbers("epochs");
    this.classes = preview.has("classes") ? preview.strings("classes") : [];
    this.groups = preview.has("groups") ? preview.strings("groups") : [];
    this.examples = {
      train: new Examples(
        "train",
        this.attrs.count.train,
        this.attrs.chunk,
        this.classes,
        this.groups,
        source,
      ),
      test: new Examples(
        "test",
        this.attrs.count.test,
        this.attrs.chunk,
        this.classes,
        this.groups,
        source,
      ),
    };
  }

  /** Whether the training examples have labels: predictions have classes without them. */
  get hasLabels(): boolean {
    return this.preview.has("label_counts");
  }

  /** Share of the training examples that have a label. */
  labelShare(code: number): number {
    const counts = this.preview.maybe("label_counts");
    if (!counts || code < 0) return NaN;
    let all = 0;
    for (let i = 0; i < counts.length; i++) all += counts[i]!;
    return (counts[code] ?? 0) / all;
  }

  get unit(): string {
    return this.attrs.unit;
  }
  get first(): number {
    return this.epochs[0] ?? 0;
  }
  get last(): number {
    return this.epochs[this.epochs.length - 1] ?? 0;
  }

  curve(name: string): Curve | null {
    const values = this.preview.maybe(`metrics/${name}`);
    return values ? { name, epochs: this.preview.numbers("metrics/epoch"), values } : null;
  }

  method(id: string | null): Method | null {
    return this.attrs.methods.find((method) => method.id === id) ?? this.attrs.methods[0] ?? null;
  }

  /** The epochs at which a method's scores are recorded. */
  scoreEpochs(method: string): Numbers {
    return this.preview.maybe(`scores/${method}/epoch`) ?? new Int32Array(0);
  }

  /** Each test example's course through training: at hand, or null until `await`ed. */
  dynamicsNow(split: Split): Dynamics | null {
    const blocks = this.source.peek(`dynamics/${split}`);
    return blocks ? new Dynamics(blocks) : null;
  }
  async dynamics(split: Split): Promise<Dynamics | null> {
    if (!this.attrs[`has_dynamics_${split}`]) return null;
    return new Dynamics(await this.source.get(`dynamics/${split}`));
  }

  scoresNow(method: string, test: number): TestScores | null {
    const blocks = this.source.peek(scoresKey(method, test));
    return blocks ? new TestScores(blocks, this.scoreEpochs(method)) : null;
  }
  async scores(method: string, test: number): Promise<TestScores> {
    return new TestScores(await this.source.get(scoresKey(method, test)), this.scoreEpochs(method));
  }

  question(id: string | null): Question | null {
    return this.attrs.queries?.find((question) => question.id === id) ?? null;
  }

  /** The method shown where it answers a question, else the first that does. */
  answering(question: Question, shown: Method | null): Method {
    const id = shown && question.methods.includes(shown.id) ? shown.id : question.methods[0]!;
    return (
      this.attrs.methods.find((one) => one.id === id) ?? { id, label: id, about: "", unit: "" }
    );
  }

  answersNow(question: Question, method: string): TestScores | null {
    const blocks = this.source.peek(this.#questionKey(question, method));
    return blocks ? new TestScores(blocks, blocks.numbers("epoch")) : null;
  }
  /** The scores for a question, as those of a test example. */
  async answers(question: Question, method: string): Promise<TestScores> {
    const blocks = await this.source.get(this.#questionKey(question, method));
    return new TestScores(blocks, blocks.numbers("epoch"));
  }
  #questionKey(question: Question, method: string): string {
    return `query/${this.attrs.queries!.indexOf(question)}/${method}`;
  }

  turn(lights: Blocks): void {
    this.#lights = lights;
  }

  /** Whether a method's light is red at any moment. */
  everRed(method: string): boolean {
    return this.#lights.maybe(`light/${method}/level`)?.includes(0 as never) ?? false;
  }

  /** The light of a method's scores; `any`: as claims about trainings from other starts. */
  light(moment: number, method: string | null, start: "this" | "any" = "this"): Light {
    if (start === "any" && !this.#lights.has(`light/${method}/any/epoch`))
      return {
        level: "grey",
        text: "not tried",
        detail:
          "Not tried: do these scores hold where training begins with other weights and another order? They are about this training alone.",
      };
    const known = start === "any" ? `light/${method}/any` : `light/${method}`;
    const base = method && this.#lights.has(`${known}/epoch`) ? known : "light";
    const epochs = this.#lights.maybe(`${base}/epoch`);
    if (!epochs?.length)
      return {
        level: "grey",
        text: "not checked by retraining",
        detail:
          "Not checked: does retraining without an example do what its score says? The Validity tab shows how to check.",
      };
    const i = indexBefore(epochs, moment);
    const levels = ["red", "amber", "green", "grey"] as const;
    return {
      level: levels[this.#lights.numbers(`${base}/level`)[i]!] ?? "grey",
      text: this.#lights.strings(`${base}/text`)[i] ?? "",
      detail: this.#lights.has(`${base}/detail`)
        ? (this.#lights.strings(`${base}/detail`)[i] ?? "")
        : "",
    };
  }
}

export const scoresKey = (method: string, test: number): string => `scores/${method}/${test}`;
