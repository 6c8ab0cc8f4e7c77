// Half floats to single floats; they come as two planes of bytes, low and high.
let table: Float32Array | null = null;

function build(): Float32Array {
  const out = new Float32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const sign = h & 0x8000 ? -1 : 1,
      exponent = (h >> 10) & 31,
      fraction = h & 1023;
    out[h] =
      exponent === 31
        ? fraction
          ? NaN
          : sign * Infinity
        : exponent
          ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024)
          : sign * 2 ** -14 * (fraction / 1024);
  }
  return out;
}

export function float16ToFloat32(planes: Uint8Array): Float32Array {
  table ??= build();
  const n = planes.length >> 1,
    out = new Float32Array(n);
  for (let i = 0; i < n; i++) out[i] = table[planes[i]! | (planes[n + i]! << 8)]!;
  return out;
}
