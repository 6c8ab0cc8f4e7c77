import assert from "node:assert/strict";
import test from "node:test";
import { ABSENT, between } from "../src/data/projection";
import { around, baseAt, fit, HOME, panned, WHOLE, zoomed } from "../src/views/evolution/camera";
import { CanvasPainter, greyFirst } from "../src/views/evolution/canvas_painter";
import { inked, lossOf } from "../src/views/evolution/colouring";
import { middles, parted } from "../src/views/evolution/names";
import { shuffled } from "../src/views/evolution/order";
import { GREY, TEST } from "../src/views/evolution/painter";
import { along, centred, css, diverging, ordered, rgb } from "../src/views/evolution/palette";
import { Stamps, stamp, stampAll } from "../src/views/evolution/stamp";
import { spread } from "../src/views/evolution/thumbs";
import { inside, nearest, pixel, type Scene, towards, within } from "../src/views/evolution/where";

const scene = (a: number[], b: number[], share: number): Scene => ({
  a: Uint16Array.from(a),
  b: Uint16Array.from(b),
  share,
  fit: { kx: 1, ky: 1, dx: 0, dy: 0 },
});

test("a moment lies between its two recorded epochs, and beyond the ends at the end", () => {
  assert.deepEqual(between([0, 10, 30], 20), { before: 1, after: 2, share: 0.5 });
  assert.deepEqual(between([0, 10, 30], 99), { before: 2, after: 2, share: 0 });
  assert.deepEqual(between([5, 10], 1), { before: 0, after: 0, share: 0 });
  assert.deepEqual(between([7], 7), { before: 0, after: 0, share: 0 });
});

test("a point moves in a straight line between epochs", () => {
  assert.deepEqual(pixel(scene([0, 100], [10, 200], 0.5), 0), [5, 150]);
});

test("an example without a position at either end is nowhere", () => {
  assert.equal(pixel(scene([ABSENT, ABSENT], [1, 1], 0.2), 0), null);
  assert.equal(nearest(scene([ABSENT, ABSENT], [1, 1], 0.2), 1, 1, 1, 1e9), -1);
});

test("the square fills the shorter side of the panel with y upwards", () => {
  const f = fit(HOME, { width: 400, height: 300 }),
    low = [f.dx, f.dy],
    high = [(ABSENT - 1) * f.kx + f.dx, (ABSENT - 1) * f.ky + f.dy];
  assert.ok(Math.abs(high[0]! - low[0]! - (300 - 28)) < 1e-9);
  assert.ok(low[1]! > high[1]!);
  assert.ok(Math.abs((low[0]! + high[0]!) / 2 - 200) < 1e-9);
});

test("zooming keeps what lies under the pointer under the pointer", () => {
  const panel = { width: 400, height: 300, base: { x: 0.4, y: 0.6, across: 0.2, up: 0.35 } };
  const before = fit(HOME, panel),
    q = [40000, 20000],
    px = q[0]! * before.kx + before.dx,
    py = q[1]! * before.ky + before.dy;
  const after = fit(zoomed(HOME, 3, px, py, panel), panel);
  assert.ok(Math.abs(q[0]! * after.kx + after.dx - px) < 1e-6);
  assert.ok(Math.abs(q[1]! * after.ky + after.dy - py) < 1e-6);
});

test("zooming out to the whole and panning there give the whole picture back", () => {
  assert.deepEqual(
    zoomed({ zoom: 2, x: 0.1, y: 0.9 }, 0.1, 0, 0, { width: 100, height: 100 }),
    HOME,
  );
  assert.deepEqual(panned(HOME, 50, 50, { width: 100, height: 100 }), HOME);
});

test("the base of a moment lies between those of its epochs and brings its corner to the panel's", () => {
  const base = baseAt([0.5, 0.5, 0.5, 0.1, 0.3, 0.5, 0.1, 0.1], 0, 1, 0.5);
  assert.ok(Math.abs(base.x - 0.4) < 1e-12 && Math.abs(base.across - 0.3) < 1e-12);
  const f = fit(HOME, { width: 228, height: 228, base });
  assert.ok(Math.abs((base.x - base.across) * (ABSENT - 1) * f.kx + f.dx - 14) < 1e-6);
  assert.deepEqual(
    fit(HOME, { width: 100, height: 100, base: WHOLE }),
    fit(HOME, { width: 100, height: 100 }),
  );
});

test("a panel higher than wide is filled by data higher than wide, in one scale", () => {
  const base = { x: 0.5, y: 0.5, across: 0.1, up: 0.2 },
    f = fit(HOME, { width: 200, height: 372, base });
  assert.ok(Math.abs(0.2 * (ABSENT - 1) * f.kx - 172) < 1e-6 && Math.abs(f.kx + f.ky) < 1e-12);
});

test("what is selected is brought to the middle of the panel, and not past its edges", () => {
  const panel = { width: 400, height: 300 },
    spots = [100, 90, 140, 110, 120, 80],
    before = fit(HOME, panel),
    camera = around(HOME, spots, panel),
    after = fit(camera, panel);
  const moved = spots.map((at, i) => {
    const [k, d] = i % 2 ? (["ky", "dy"] as const) : (["kx", "dx"] as const);
    return ((at - before[d]) / before[k]) * after[k] + after[d];
  });
  for (let i = 0; i < moved.length; i += 2)
    assert.ok(moved[i]! > 0 && moved[i]! < 400 && moved[i + 1]! > 0 && moved[i + 1]! < 300);
  assert.ok(
    camera.zoom > 2 &&
      Math.abs((Math.min(moved[0]!, moved[2]!) + Math.max(moved[0]!, moved[2]!)) / 2 - 200) < 1e-6,
  );
  assert.deepEqual(around(HOME, [], panel), HOME);
});

test("pictures that are shown lie beside each other, and first come first", () => {
  const spots = [50, 50, 55, 60, 90, 50, 50, 75, 2, 2],
    rows = spread(scene(spots, spots, 0), 5, 20, 200, 200, () => true);
  assert.deepEqual(rows, [0, 2, 3]);
  assert.deepEqual(
    spread(scene(spots, spots, 0), 5, 20, 200, 200, (row) => row !== 0),
    [1, 2],
  );
});

test("names stand at the medians of their kinds, and none on another", () => {
  const spots = Uint16Array.from([1, 1, 3, 5, 900, 9, 7, 7, ABSENT, ABSENT, 8, 8, 9, 9]),
    of = (row: number): number => (row < 3 ? 0 : 1);
  assert.deepEqual([...middles(spots, 7, { names: ["a", "b"], of })], [3, 5, 8, 8]);
  assert.deepEqual(
    parted([
      { x: 0, y: 10, half: 5 },
      { x: 4, y: 12, half: 5 },
      { x: 60, y: 11, half: 5 },
    ]),
    [10, 25, 11],
  );
});

test("the nearest example agrees with a slow search, and respects what is asked for", () => {
  const a = Array.from({ length: 200 }, (_, i) => (i * 7919) % 300),
    s = scene(a, a, 0);
  for (const [x, y] of [
    [10, 20],
    [150, 150],
    [299, 1],
  ] as const) {
    let best = -1,
      least = Infinity;
    for (let row = 0; row < 100; row++) {
      const d = Math.hypot(a[2 * row]! - x, a[2 * row + 1]! - y);
      if (d <= least) {
        least = d;
        best = row;
      }
    }
    assert.equal(nearest(s, 100, x, y, 1e4), best);
  }
  assert.equal(
    nearest(scene([0, 0, 5, 0], [0, 0, 5, 0], 0), 2, 0, 0, 100, (row) => row === 1),
    1,
  );
  assert.equal(nearest(scene([0, 0], [0, 0], 0), 1, 50, 0, 10), -1);
});

test("an arrow key goes to the next example in its direction", () => {
  const s = scene([50, 50, 60, 50, 50, 20, 10, 52], [50, 50, 60, 50, 50, 20, 10, 52], 0);
  assert.equal(towards(s, 4, 50, 50, 1, 0, 0), 1);
  assert.equal(towards(s, 4, 50, 50, 0, -1, 0), 2);
  assert.equal(towards(s, 4, 50, 50, -1, 0, 0), 3);
  assert.equal(towards(s, 4, 50, 50, 0, 1, 0), -1);
});

test("a lasso takes what lies within, also when it is not convex", () => {
  const horseshoe = [0, 0, 30, 0, 30, 30, 20, 30, 20, 10, 10, 10, 10, 30, 0, 30];
  assert.ok(inside(horseshoe, 5, 20) && inside(horseshoe, 25, 20) && !inside(horseshoe, 15, 20));
  assert.deepEqual(
    within(scene([5, 20, 15, 20, 25, 20], [5, 20, 15, 20, 25, 20], 0), 3, horseshoe),
    [0, 2],
  );
});

test("a diverging scale has zero in its middle, and both signs at equal distance", () => {
  assert.equal(centred(0, 2), 0.5);
  assert.equal(centred(2, 2) + centred(-2, 2), 1);
  assert.equal(centred(3, 0), 0.5);
  for (const dark of [true, false]) assert.equal(diverging(dark).length % 2, 1);
});

test("an ordered scale runs one way in brightness", () => {
  for (const dark of [true, false]) {
    const light = [0, 0.25, 0.5, 0.75, 1].map((s) =>
        along(ordered(dark), s).reduce((p, q) => p + q),
      ),
      steps = light.slice(1).map((v, i) => Math.sign(v - light[i]!));
    assert.equal(new Set(steps).size, 1);
  }
});

test("colours of style sheets are read in all their forms", () => {
  for (const text of ["#336699", "#369", "rgb(51, 102, 153)", "rgb(51 102 153 / 50%)"])
    assert.deepEqual(rgb(text).map(Math.round), [51, 102, 153]);
  assert.equal(css([1.4, 2, 3]), "rgb(1,2,3)");
});

test("the loss from a margin equals -log p, without overflow", () => {
  for (const margin of [-3, -0.5, 0, 2])
    assert.ok(Math.abs(lossOf(margin) + Math.log(1 / (1 + Math.exp(-margin)))) < 1e-12);
  assert.equal(lossOf(-1000), 1000);
  assert.equal(lossOf(1000), 0);
});

test("what is not chosen turns grey and stays", () => {
  const projection = { count: 3, split: Uint8Array.of(0, 1, 0) } as never;
  const out = inked(projection, (row) => (row === 2 ? null : [1, 2, 3]), new Set([1, 2]));
  assert.deepEqual([out[3], out[7], out[11]], [GREY, TEST, GREY]);
  assert.deepEqual([...out.slice(4, 7)], [1, 2, 3]);
});

test("grey rows come first, and none is lost", () => {
  const order = [...greyFirst(Uint32Array.of(9, (GREY << 24) | 1, 3, 9, GREY << 24))];
  assert.deepEqual(order.slice(0, 2).sort(), [1, 4]);
  assert.deepEqual([...order].sort(), [0, 1, 2, 3, 4]);
});

test("the beginning of the drawing order is a fair sample of a table that runs through its classes", () => {
  const order = shuffled(60_000),
    counts = new Array<number>(10).fill(0);
  assert.equal(new Set(order).size, 60_000);
  for (const row of order.slice(0, 10_000)) counts[row % 10]!++;
  assert.ok(
    counts.every((n) => Math.abs(n - 1000) < 120),
    counts.join(),
  );
  assert.equal(shuffled(60_000), order);
});

test("a stamp is symmetric, and a ring is hollow where a disc is full", () => {
  for (const ring of [false, true]) {
    const { dx, dy, cover } = stamp(3, ring),
      by = new Map([...cover].map((c, k) => [`${dx[k]},${dy[k]}`, c]));
    for (const [key, c] of by) {
      const [x, y] = key.split(",").map(Number);
      assert.equal(by.get(`${-x!},${-y!}`), c);
    }
    assert.equal(by.has("0,0"), !ring);
  }
});

test("of few points edges lie over what is there, and centres between pixels tell apart", () => {
  const spots = Uint16Array.of(200, 200, 230, 200),
    colours = Uint8Array.from([200, 0, 0, 0, 0, 0, 200, 0]),
    width = 40;
  const drawn = (shift: number): Uint32Array => {
    const pixels = new Uint32Array(width * width),
      scene = { a: spots, b: spots, share: 0, fit: { kx: 0.1, ky: 0.1, dx: shift, dy: 0 } };
    stampAll(
      pixels,
      width,
      width,
      {
        scene,
        count: 2,
        colours,
        radius: 3,
        every: 1,
        grey: [9, 9, 9],
        paper: [255, 255, 255],
        moving: false,
      },
      new Stamps(3, 1, true),
      new Uint32Array(colours.buffer),
      Uint32Array.of(0, 1),
      1,
    );
    return pixels;
  };
  const still = drawn(0),
    moved = drawn(0.25),
    ink = (pixels: Uint32Array): number => pixels.reduce((sum, word) => sum + (word >>> 24), 0);
  assert.notDeepEqual(still, moved);
  assert.ok(Math.abs(ink(still) / ink(moved) - 1) < 0.02);
  assert.equal(still[20 * width + 22]! & 0xff0000, 200 << 16); // the later one lies on top
  assert.equal(still[20 * width + 18], 0xff0000c8);
});

test("many points are put into pixels at their places; those without a position are left out, and a sample stands for all while they move", () => {
  const n = 180_000,
    spots = new Uint16Array(2 * n).fill(50),
    colours = new Uint8Array(4 * n),
    pixels = new Uint8ClampedArray(100 * 100 * 4);
  const paper = { createImageData: () => ({ data: pixels }), putImageData: () => undefined };
  const painter = new CanvasPainter({ getContext: () => paper, width: 1, height: 1 } as never);
  painter.size(100, 100, 1);
  for (let row = 0; row < n; row++) colours.set([10, 20, 30, 0], 4 * row);
  spots[0] = ABSENT;
  spots[1] = 5;
  const frame = {
    scene: { a: spots, b: spots, share: 0, fit: { kx: 1, ky: 1, dx: 0, dy: 0 } },
    count: n,
    colours,
    radius: 1,
    every: 1,
    grey: [0, 0, 0],
    paper: [0, 0, 0],
    moving: true,
  } as const;
  painter.draw(frame);
  assert.deepEqual([...pixels.slice(4 * 5050, 4 * 5050 + 4)], [10, 20, 30, 255]);
  assert.ok(
    pixels.every(
      (v, i) =>
        i % 4 !== 3 ||
        v === 0 ||
        Math.hypot(((i >> 2) % 100) - 50, Math.floor((i >> 2) / 100) - 50) <= 2,
    ),
  );
});
