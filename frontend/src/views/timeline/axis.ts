// Where things lie along the timeline: scale, round ticks, labels that do not collide. Pure.

export interface Scale {
  (value: number): number;
  invert(pixel: number): number;
}

/** A linear scale; a domain without extent maps to the middle. */
export function linear(first: number, last: number, from: number, to: number): Scale {
  const extent = last - first;
  const scale = (value: number): number =>
    extent ? from + ((value - first) / extent) * (to - from) : (from + to) / 2;
  return Object.assign(scale, {
    invert: (pixel: number): number =>
      to === from ? first : first + Math.min(1, Math.max(0, (pixel - from) / (to - from))) * extent,
  });
}

/** A scale that gives the first moments room: the logarithm of the time since the first, plus one step. */
export function logarithmic(
  first: number,
  last: number,
  step: number,
  from: number,
  to: number,
): Scale {
  const whole = Math.log1p((last - first) / step) || 1,
    along = (value: number): number => Math.log1p(Math.max(0, value - first) / step) / whole;
  const scale = (value: number): number => from + along(value) * (to - from);
  return Object.assign(scale, {
    invert: (pixel: number): number =>
      first +
      step * Math.expm1(whole * Math.min(1, Math.max(0, (pixel - from) / (to - from || 1)))),
  });
}

/** Round values for a logarithmic scale: 1, 2, 5, 10 ... where there is room for them. */
export function logTicks(first: number, last: number, x: Scale, apart: number): number[] {
  const out = [first];
  for (let power = 0; 10 ** power <= last; power++)
    for (const digit of [1, 2, 5]) {
      const value = digit * 10 ** power;
      if (value > first && value <= last && x(value) - x(out[out.length - 1]!) >= apart)
        out.push(value);
    }
  return out;
}

/** About `about` round values between the ends. */
export function ticks(first: number, last: number, about: number): number[] {
  const extent = last - first;
  if (!(extent > 0) || about < 1) return [first];
  const rough = extent / about,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((m) => m * power >= rough) ?? 10);
  const out: number[] = [];
  for (let i = Math.ceil(first / step - 1e-9); i * step <= last + step * 1e-9; i++)
    out.push(Number((i * step).toPrecision(12)));
  return out;
}

export interface Label {
  readonly x: number;
  readonly width: number;
}
export interface Placed {
  readonly x: number;
  readonly anchor: "start" | "end";
  readonly row: number;
}

/** Puts each label right of its line, a row higher where another is in the way, and left of it at the right end. */
export function placeLabels(
  labels: readonly Label[],
  left: number,
  right: number,
  gap = 5,
  blocked: (row: number, from: number, to: number) => boolean = () => false,
): Placed[] {
  const taken: { row: number; from: number; to: number }[] = [];
  const free = (row: number, from: number, to: number): boolean =>
    from >= left &&
    to <= right &&
    !taken.some((t) => t.row === row && from < t.to + gap && to > t.from - gap);
  return labels.map(({ x, width }) => {
    // rather over a curve than over another name
    for (const over of [false, true])
      for (const anchor of ["start", "end"] as const) {
        for (let row = 0; row < 5; row++) {
          const from = anchor === "start" ? x + gap : x - gap - width;
          if (free(row, from, from + width) && (over || !blocked(row, from, from + width))) {
            taken.push({ row, from, to: from + width });
            return { x: anchor === "start" ? x + gap : x - gap, anchor, row };
          }
        }
      }
    return { x: x + gap, anchor: "start", row: 0 };
  });
}

/** An SVG path through points; a gap where a value is not finite. */
export function path(
  xs: ArrayLike<number>,
  ys: ArrayLike<number>,
  x: (v: number) => number,
  y: (v: number) => number,
): string {
  let out = "",
    pen = false;
  for (let i = 0; i < xs.length; i++) {
    const value = ys[i]!;
    if (!Number.isFinite(value)) {
      pen = false;
      continue;
    }
    out += `${pen ? "L" : "M"}${x(xs[i]!).toFixed(1)},${y(value).toFixed(1)}`;
    pen = true;
  }
  return out;
}
