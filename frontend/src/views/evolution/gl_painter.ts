// Points on the GPU: two position buffers and a uniform for the moment between them.
// Scrubbing changes one number; crossing a recorded epoch uploads one buffer.
import { shuffled } from "./order";
import { AWAY, type Frame, GREY, type Painter, TEST } from "./painter";

const VERTEX = `#version 300 es
layout(location=0) in vec2 a; layout(location=1) in vec2 b; layout(location=2) in vec4 look;
uniform float share, radius, ratio; uniform vec2 k, d, panel; uniform vec3 grey; uniform bool last;
out vec3 colour; flat out float ring;
void main() {
  int state = int(look.w * 255. + .5);
  bool faint = (state & ${GREY}) != 0;
  // NaN positions are stored as 65535
  bool out_of_it = faint == last || (state & ${AWAY}) != 0 || a.x > 65534.5 || b.x > 65534.5;
  vec2 p = mix(a, b, share) * k + d;
  gl_Position = out_of_it ? vec4(2., 2., 2., 1.) : vec4(p.x / panel.x * 2. - 1., 1. - p.y / panel.y * 2., 0., 1.);
  gl_PointSize = (2. * radius + 2.) * ratio;
  colour = faint ? grey : look.rgb;
  ring = (state & ${TEST}) != 0 ? 1. : 0.;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 colour; flat in float ring; uniform float radius, ratio; uniform vec3 paper; out vec4 ink;
void main() {
  float r = radius * ratio, far = length(gl_PointCoord - .5) * (2. * radius + 2.) * ratio;
  float width = max(1.1, radius * .42) * ratio;
  float disc = clamp(r - far + .5, 0., 1.);
  // discs part from their neighbours by a hairline of paper; rings are hollow
  float hair = ring > .5 ? 0. : clamp(r + .8 * ratio - far + .5, 0., 1.) * .55;
  float cover = ring > .5 ? disc * clamp(far - (r - width) + .5, 0., 1.) : disc;
  ink = vec4(mix(paper, colour, cover / max(max(cover, hair), 1e-4)), 1.) * max(cover, hair);
}`;

/** A painter, or null where the browser has no WebGL2, or imitates it on the processor: a 2D canvas is faster then. */
export function glPainter(element: HTMLCanvasElement): Painter | null {
  const gl = element.getContext("webgl2", {
    alpha: true,
    premultipliedAlpha: true,
    antialias: false,
    depth: false,
    stencil: false,
  });
  if (!gl || gl.isContextLost() || imitated(gl)) return null;
  const program = gl.createProgram()!;
  for (const [type, source] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ] as const) {
    const shader = gl.createShader(type)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
      throw new Error(`The scatter's shader does not compile: ${gl.getShaderInfoLog(shader)}`);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  return new GlPainter(element, gl, program);
}

function imitated(gl: WebGL2RenderingContext): boolean {
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return (
    info !== null &&
    /swiftshader|llvmpipe|softpipe|software|basic render/i.test(
      String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)),
    )
  );
}

class GlPainter implements Painter {
  readonly name = "webgl";
  readonly element: HTMLCanvasElement;
  #gl: WebGL2RenderingContext;
  #program: WebGLProgram;
  #at = new Map<string, WebGLUniformLocation | null>();
  #held: { buffer: WebGLBuffer; of: Uint16Array | null }[];
  #look: { buffer: WebGLBuffer; of: Uint8Array | null };
  #order: { buffer: WebGLBuffer; count: number };
  #width = 1;
  #height = 1;
  #ratio = 1;

  constructor(element: HTMLCanvasElement, gl: WebGL2RenderingContext, program: WebGLProgram) {
    this.element = element;
    this.#gl = gl;
    this.#program = program;
    for (const name of ["share", "radius", "ratio", "k", "d", "panel", "grey", "paper", "last"])
      this.#at.set(name, gl.getUniformLocation(program, name));
    this.#held = [0, 1].map(() => ({ buffer: gl.createBuffer()!, of: null }));
    this.#look = { buffer: gl.createBuffer()!, of: null };
    this.#order = { buffer: gl.createBuffer()!, count: 0 };
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  size(width: number, height: number, ratio: number): void {
    this.#width = width;
    this.#height = height;
    this.#ratio = ratio;
    this.element.width = Math.max(1, Math.round(width * ratio));
    this.element.height = Math.max(1, Math.round(height * ratio));
  }

  draw(frame: Frame): void {
    const gl = this.#gl;
    if (gl.isContextLost()) return;
    const { scene, count, every } = frame,
      shown = Math.ceil(count / every);
    gl.viewport(0, 0, this.element.width, this.element.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!shown) return;
    gl.useProgram(this.#program);
    const a = this.#hold(scene.a, scene.b),
      b = this.#hold(scene.b, scene.a);
    for (const [location, held] of [
      [0, a],
      [1, b],
    ] as const) {
      gl.bindBuffer(gl.ARRAY_BUFFER, held.buffer);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, 2, gl.UNSIGNED_SHORT, false, 4, 0);
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.#look.buffer);
    if (this.#look.of !== frame.colours) {
      gl.bufferData(gl.ARRAY_BUFFER, frame.colours, gl.DYNAMIC_DRAW);
      this.#look.of = frame.colours;
    }
    gl.enableVertexAttribArray(2);
    gl.vertexAttribPointer(2, 4, gl.UNSIGNED_BYTE, true, 4, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.#order.buffer);
    if (this.#order.count !== count) {
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, shuffled(count), gl.STATIC_DRAW);
      this.#order.count = count;
    }
    const at = (name: string): WebGLUniformLocation | null => this.#at.get(name) ?? null,
      { fit } = scene;
    gl.uniform1f(at("share"), scene.share);
    gl.uniform1f(at("radius"), frame.radius);
    gl.uniform1f(at("ratio"), this.#ratio);
    gl.uniform2f(at("k"), fit.kx, fit.ky);
    gl.uniform2f(at("d"), fit.dx, fit.dy);
    gl.uniform2f(at("panel"), this.#width, this.#height);
    gl.uniform3f(at("grey"), frame.grey[0] / 255, frame.grey[1] / 255, frame.grey[2] / 255);
    gl.uniform3f(at("paper"), frame.paper[0] / 255, frame.paper[1] / 255, frame.paper[2] / 255);
    for (const last of [0, 1]) {
      gl.uniform1i(at("last"), last);
      gl.drawElements(gl.POINTS, shown, gl.UNSIGNED_INT, 0);
    }
  }

  /** The buffer that holds some positions, uploading over the one that is not `kept`. */
  #hold(positions: Uint16Array, kept: Uint16Array): { buffer: WebGLBuffer } {
    const known = this.#held.find((held) => held.of === positions);
    if (known) return known;
    const free = this.#held.find((held) => held.of !== kept) ?? this.#held[0]!;
    this.#gl.bindBuffer(this.#gl.ARRAY_BUFFER, free.buffer);
    this.#gl.bufferData(this.#gl.ARRAY_BUFFER, positions, this.#gl.DYNAMIC_DRAW);
    free.of = positions;
    return free;
  }

  destroy(): void {
    const gl = this.#gl;
    for (const { buffer } of [...this.#held, this.#look, this.#order]) gl.deleteBuffer(buffer);
    gl.deleteProgram(this.#program);
    // browsers allow few contexts; give this one back now rather than when memory is collected
    gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
