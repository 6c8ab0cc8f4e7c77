// Colours of points: categories, an ordered scale, and a diverging one centred at zero. Pure.
import { category, type Theme } from "../../ui/theme";

export type Rgb = readonly [number, number, number];

export function rgb(css: string): Rgb {
  const hex = /^#([0-9a-f]{6}|[0-9a-f]{3})/i.exec(css.trim())?.[1];
  if (hex)
    return (hex.length === 3
      ? [...hex].map((c) => parseInt(c + c, 16))
      : [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16))) as unknown as Rgb;
  const parts = /rgba?\(([^)]+)\)/
    .exec(css)?.[1]
    ?.split(/[\s,/]+/)
    .map(Number);
  return parts && parts.length >= 3 ? [parts[0]!, parts[1]!, parts[2]!] : [128, 128, 128];
}
export function css([r, g, b]: Rgb): string {
  return `rgb(${Math.round(r)},${Math.round(g)},${Math.round(b)})`;
}

export function mix(a: Rgb, b: Rgb, share: number): Rgb {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

/** A colour along stops for 0..1; clamped. */
export function along(stops: readonly Rgb[], share: number): Rgb {
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1),
    i = Math.min(stops.length - 2, Math.floor(at));
  return mix(stops[i]!, stops[i + 1]!, at - i);
}

// perceptually ordered, readable on either paper: dark end darkest on light, brightest on dark
const ORDERED_LIGHT: Rgb[] = ["#c9dceb", "#7fb2d6", "#3d84bb", "#1f5a96", "#14305c"].map(rgb);
const ORDERED_DARK: Rgb[] = ["#2f3f52", "#3a6390", "#4c93c4", "#8cc9e2", "#e8f6e4"].map(rgb);
export function ordered(dark: boolean): readonly Rgb[] {
  return dark ? ORDERED_DARK : ORDERED_LIGHT;
}

// the board's two meanings of sign: hurts, nothing, helps
const DIVERGING_LIGHT: Rgb[] = ["#8a2f66", "#cc79a7", "#d5d9de", "#45b08f", "#00664a"].map(rgb);
const DIVERGING_DARK: Rgb[] = ["#f0a8d0", "#a05a83", "#39414a", "#2f8f72", "#5fdcb4"].map(rgb);
export function diverging(dark: boolean): readonly Rgb[] {
  return dark ? DIVERGING_DARK : DIVERGING_LIGHT;
}
/** -size..size to 0..1 with zero in the middle; the root lifts what lies near zero. */
export function centred(value: number, size: number): number {
  const share = size > 0 ? Math.min(1, Math.abs(value) / size) : 0;
  return 0.5 + Math.sign(value) * 0.5 * Math.sqrt(share);
}

/** Up to eight kinds get Okabe and Ito's colours; more go round the wheel in their own order. */
export function kind(code: number, kinds: number, theme: Theme): Rgb {
  if (kinds <= 8) return rgb(category(code, theme));
  return oklch(theme.dark ? 0.74 : 0.6, 0.13, (360 * code) / kinds + 20);
}

/** OKLCH (Ottosson 2020) to sRGB, clipped: equal steps of hue look equally bright. */
export function oklch(l: number, c: number, h: number): Rgb {
  const a = c * Math.cos((h * Math.PI) / 180),
    b = c * Math.sin((h * Math.PI) / 180);
  const l1 = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3,
    m1 = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3,
    s1 = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l1 - 3.3077115913 * m1 + 0.2309699292 * s1,
    -1.2684380046 * l1 + 2.6097574011 * m1 - 0.3413193965 * s1,
    -0.0041960863 * l1 - 0.7034186147 * m1 + 1.707614701 * s1,
  ];
  return linear.map((v) => {
    const x = Math.min(1, Math.max(0, v));
    return 255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055);
  }) as unknown as Rgb;
}

/** Whether black is read better on a colour than white: its relative luminance (WCAG 2) is above .179. */
export function bright(colour: Rgb): boolean {
  const [r, g, b] = colour.map((value) => {
    const v = value / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}
