// Numbers and names as people read them.
const group = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });

export function count(value: number): string {
  return group.format(value);
}

/** A moment of training: "1,075". */
export function moment(value: number): string {
  return group.format(Math.abs(value - Math.round(value)) < 1e-6 ? Math.round(value) : value);
}

export function percent(share: number): string {
  if (!Number.isFinite(share)) return "–";
  if (share < 0) return `−${percent(-share)}`;
  const p = share * 100;
  // 99.96 % must not read 100 %
  if (p > 99.9 && p < 100) return "99.9 %";
  if (p < 0.1 && p > 0) return "0.1 %";
  return `${p === 100 || p === 0 ? p : p.toFixed(1)} %`;
}

/** A signed number with three significant digits and a true minus. */
export function signed(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : value > 0 ? "+" : "";
  return sign + magnitude(size);
}

/** A margin in nats: as many digits as tell cards apart. */
export function nats(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value),
    sign = value < 0 ? "−" : "+";
  return size < 0.005
    ? "0.00"
    : sign + (size >= 100 ? size.toFixed(0) : size >= 1 ? size.toFixed(1) : size.toFixed(2));
}

export function magnitude(size: number): string {
  if (!Number.isFinite(size)) return "–";
  if (size === 0) return "0";
  if (size >= 1e5 || size < 1e-3) {
    const power = Math.floor(Math.log10(size));
    const mantissa = size / 10 ** power;
    return `${mantissa >= 9.95 ? "1.0" : mantissa.toFixed(1)}e${String(mantissa >= 9.95 ? power + 1 : power).replace("-", "−")}`;
  }
  return size >= 100
    ? group.format(Math.round(size))
    : size >= 10
      ? size.toFixed(1)
      : size >= 1
        ? size.toFixed(2)
        : size.toFixed(3);
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A rank: "1st", "22nd". */
export function rankName(rank: number): string {
  const tens = rank % 100,
    ones = tens > 10 && tens < 14 ? 0 : rank % 10;
  return `${count(rank)}${["th", "st", "nd", "rd"][ones] ?? "th"}`;
}

/** The characters people see: emoji and marks stay whole. */
function characters(text: string): string[] {
  return typeof Intl.Segmenter === "function"
    ? Array.from(new Intl.Segmenter().segment(text), (s) => s.segment)
    : Array.from(text);
}

/** At most `most` characters, cut between whole characters. */
export function clipped(text: string, most: number): string {
  if (text.length <= most) return text;
  // a character people see may be many code units long, so take plenty and count
  const some = text.slice(0, most * 32),
    parts = characters(some);
  return parts.length <= most ? some : `${parts.slice(0, most - 1).join("")}…`;
}

/** The last `most` characters. */
export function ending(text: string, most: number): string {
  return characters(text.slice(-most * 32))
    .slice(-most)
    .join("");
}
