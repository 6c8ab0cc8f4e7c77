// Made by `python -m dg_explorer.widgets.answers.sent`; change that file, not this one.

/** A moment on the timeline; `low` and `high` are its 95 % interval. */
export interface Mark {
  kind: "memorized" | "onset" | "half" | "generalized";
  epoch: number;
  label: string;
  low?: number;
  high?: number;
}

/** A method with scores; `unit` is "" where that is not known. */
export interface Method {
  id: string;
  label: string;
  about: string;
  unit: string;
}

/** A question that was asked of the finished run, "set/question", and what answers it. */
export interface Question {
  id: string;
  about: string;
  methods: string[];
}

/** Examples of each split. */
export interface Count {
  train: number;
  test: number;
}

/** What the first container says in words and single numbers. */
export interface Attrs {
  name: string;
  about: string;
  unit: "epoch" | "step";
  count: Count;
  chunk: number;
  methods: Method[];
  marks: Mark[];
  layers: string[];
  queries?: Question[];
  has_dynamics_train: boolean;
  has_dynamics_test: boolean;
  has_map: boolean;
  has_course: boolean;
  has_gradients: boolean;
  has_groups: boolean;
  has_validity: boolean;
  has_removal: boolean;
  has_comparison?: boolean;
}

/** Traits of a board. */
export interface Traits {
  _preview: DataView;
  _more: DataView;
  _lights: DataView;
  _selection: Record<string, unknown>;
  _views: string[];
  _error: string;
  _still: string;
  _asked: unknown[];
  _job: Record<string, unknown>;
}

/** The names of the blocks of each family of answers. */
export interface Sent {
  preview:
    | "epochs"
    | "label_counts"
    | "metrics/epoch"
    | `metrics/${string}`
    | "classes"
    | "groups"
    | `scores/${string}/epoch`
    | `light/${string}/epoch`
    | `light/${string}/level`
    | `light/${string}/text`
    | `light/${string}/detail`;
  examples:
    | "id"
    | "label"
    | "group"
    | "thumbnail"
    | `flag/${string}`
    | "first_learned"
    | "memorization"
    | "name"
    | "text"
    | `cell/${string}`;
  dynamics: "epoch" | "margin" | "prediction" | "correct";
  scores:
    | "train"
    | "position"
    | "score"
    | "scale"
    | "top"
    | "counts"
    | "cut"
    | "floor"
    | "exposure/share"
    | "exposure/edge"
    | "exposure/at";
  query: "epoch" | "train" | "position" | "score" | "scale" | "top" | "counts" | "cut" | "floor";
  row: "scale" | "score";
  projection:
    | "epoch"
    | "split"
    | "chunk"
    | "frame"
    | "id"
    | "place"
    | "label"
    | "group"
    | "memorization"
    | "about";
  positions: "position";
  map:
    | "id"
    | "position"
    | "bounds"
    | "region"
    | "forgetting"
    | "first_learned"
    | "correctness"
    | "mean_loss"
    | "suspects"
    | "n_epochs"
    | "memorization";
  course: "epoch" | "mean" | "scale" | "plain_mean" | "plain_scale" | "flips" | "tests";
  properties: "id" | `code/${string}` | "names" | `kinds/${string}`;
  gradients: "epoch" | "flag" | `${string}` | "layer";
  accuracy: "epoch" | "accuracy" | "count";
  bias: "epoch" | "mean";
  validity:
    | "names"
    | "about"
    | "method"
    | "said"
    | `curve/${string}/epoch`
    | `curve/${string}/value`
    | `curve/${string}/low`
    | `curve/${string}/high`;
  removal:
    | "test"
    | "epoch"
    | "removed"
    | "draws"
    | "change"
    | "low"
    | "high"
    | `predicted/${string}`;
  comparison:
    | "comparison/names"
    | "comparison/units"
    | "comparison/percent"
    | `comparison/curve/${string}`
    | `comparison/fact/${string}`;
}
