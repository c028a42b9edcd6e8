/**
 * Scatter on the CPU: generated kernels that walk the source in order, so
 * repeated indices always combine in the same order. Threads share out the
 * outer axis and blocks of the inner one, never the scattered axis.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import type { Block, ScatterMode, ScatterSpec } from "../../core/device.ts";
import { DTypeError } from "../../core/errors.ts";
import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import type { PlainOp } from "../../kernel/wasm/opcodes.ts";
import { type Emit, loadParameters, loopWhileBelow } from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel, runKernel } from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

/** Types in which values are combined; anything is moved by `set` as its bytes. */
type Arithmetic = "f32" | "f64" | "i32" | "i64";
/** What one kernel moves: numbers, or elements of 1 or 2 bytes. */
type Element = Arithmetic | "b8" | "b16";
type Combine = Exclude<ScatterMode, "set">;

const words: Readonly<Record<number, Element>> = {
  1: "b8",
  2: "b16",
  4: "i32",
  8: "i64",
};

const widths: Readonly<Record<Element, number>> = {
  b8: 1,
  b16: 2,
  i32: 4,
  f32: 4,
  i64: 8,
  f64: 8,
};

/** Scalar instructions per type; i64 extrema, and i32's, compare and select. */
const scalarOps: Readonly<Record<Arithmetic, Record<Combine, PlainOp>>> = {
  f32: { add: "f32.add", mul: "f32.mul", max: "f32.max", min: "f32.min" },
  f64: { add: "f64.add", mul: "f64.mul", max: "f64.max", min: "f64.min" },
  i32: { add: "i32.add", mul: "i32.mul", max: "i32.gt_s", min: "i32.lt_s" },
  i64: { add: "i64.add", mul: "i64.mul", max: "i64.gt_s", min: "i64.lt_s" },
};

/** Vector instructions per type; i64 extrema compare and select. */
const vectorOps: Readonly<Record<Arithmetic, Record<Combine, PlainOp>>> = {
  f32: {
    add: "f32x4.add",
    mul: "f32x4.mul",
    max: "f32x4.max",
    min: "f32x4.min",
  },
  f64: {
    add: "f64x2.add",
    mul: "f64x2.mul",
    max: "f64x2.max",
    min: "f64x2.min",
  },
  i32: {
    add: "i32x4.add",
    mul: "i32x4.mul",
    max: "i32x4.max_s",
    min: "i32x4.min_s",
  },
  i64: {
    add: "i64x2.add",
    mul: "i64x2.mul",
    max: "i64x2.gt_s",
    min: "i64x2.lt_s",
  },
};

const names = [
  "target",
  "source",
  "index",
  "targetSize",
  "sourceSize",
  "inner",
  "blocks",
  "width",
] as const;

/** Writes one kernel: for each item, one block of the inner axis at one outer position. */
class ScatterWriter {
  readonly #f: FunctionBuilder;
  readonly #p: Readonly<Record<typeof names[number], number>>;
  readonly #row: number;
  readonly #s: number;
  readonly #j: number;
  readonly #count: number;
  readonly #outer: number;
  readonly #at: number;
  readonly #to: number;
  readonly #from: number;
  readonly #indexAt: number;

  constructor(
    f: FunctionBuilder,
    readonly element: Element,
    readonly mode: ScatterMode,
    readonly perElement: boolean,
  ) {
    this.#f = f;
    this.#p = loadParameters(f, names);
    const local = () => f.local("i32");
    [this.#row, this.#s, this.#j, this.#count] = [
      local(),
      local(),
      local(),
      local(),
    ];
    [this.#outer, this.#at, this.#to, this.#from, this.#indexAt] = [
      local(),
      local(),
      local(),
      local(),
      local(),
    ];
  }

  /** The body of `run(params, begin, end)`. */
  write(): void {
    const f = this.#f, p = this.#p;
    f.get(1).set(this.#row);
    loopWhileBelow(f, this.#row, () => f.get(2), 1, () => {
      // First column of the block, and how many it has.
      f.get(this.#row).get(p.blocks).op("i32.rem_u").get(p.width)
        .op("i32.mul").set(this.#at);
      f.get(this.#row).get(p.blocks).op("i32.div_u").set(this.#outer);
      f.get(p.inner).get(this.#at).op("i32.sub").set(this.#count);
      f.get(this.#count).get(p.width).get(this.#count).get(p.width)
        .op("i32.lt_u").select().set(this.#count);
      f.i32(0).set(this.#s);
      loopWhileBelow(f, this.#s, () => f.get(p.sourceSize), 1, () => {
        // Element number of the first source of this step.
        f.get(this.#outer).get(p.sourceSize).op("i32.mul").get(this.#s)
          .op("i32.add").set(this.#from);
        if (this.perElement) this.#elements();
        else this.#run();
      });
    });
  }

  /** One index per source element. */
  #elements(): void {
    const f = this.#f, p = this.#p;
    const width = widths[this.element];
    f.get(this.#from).get(p.inner).op("i32.mul").get(this.#at).op("i32.add")
      .tee(this.#from).i32(8).op("i32.mul").get(p.index).op("i32.add")
      .set(this.#indexAt);
    f.get(p.source).get(this.#from).i32(width).op("i32.mul").op("i32.add")
      .set(this.#from);
    f.i32(0).set(this.#j);
    loopWhileBelow(f, this.#j, () => f.get(this.#count), 1, () => {
      this.#ifInRange(() => {
        f.get(this.#at).op("i32.add").get(this.#j).op("i32.add").i32(width)
          .op("i32.mul").get(p.target).op("i32.add").set(this.#to);
        this.#scalar(0);
      });
      f.get(this.#indexAt).i32(8).op("i32.add").set(this.#indexAt);
      f.get(this.#from).i32(width).op("i32.add").set(this.#from);
    });
  }

  /** One index for the whole run of inner elements: vectors, then single elements. */
  #run(): void {
    const f = this.#f, p = this.#p;
    const width = widths[this.element];
    f.get(this.#s).i32(8).op("i32.mul").get(p.index).op("i32.add")
      .set(this.#indexAt);
    f.get(p.source);
    f.get(this.#from).get(p.inner).op("i32.mul").get(this.#at).op("i32.add")
      .i32(width).op("i32.mul").op("i32.add").set(this.#from);
    this.#ifInRange(() => {
      f.get(this.#at).op("i32.add").i32(width).op("i32.mul").get(p.target)
        .op("i32.add").set(this.#to);
      f.i32(0).set(this.#j);
      f.block((done) => {
        f.loop((again) => {
          f.get(this.#j).i32(16 / width).op("i32.add").get(this.#count)
            .op("i32.gt_s").brIf(done);
          this.#vector();
          this.#advance(16);
          f.get(this.#j).i32(16 / width).op("i32.add").set(this.#j).br(again);
        });
      });
      loopWhileBelow(f, this.#j, () => f.get(this.#count), 1, () => {
        this.#scalar(0);
        this.#advance(width);
      });
    });
  }

  #advance(bytes: number): void {
    const f = this.#f;
    f.get(this.#to).i32(bytes).op("i32.add").set(this.#to);
    f.get(this.#from).i32(bytes).op("i32.add").set(this.#from);
  }

  /** Runs `body` with the element number of the target's line on the stack, when the index is in range. */
  #ifInRange(body: Emit): void {
    const f = this.#f, p = this.#p;
    f.get(this.#indexAt).load("i64.load").get(p.targetSize)
      .op("i64.extend_i32_u").op("i64.lt_u");
    f.if(() => {
      f.get(this.#outer).get(p.targetSize).op("i32.mul");
      f.get(this.#indexAt).load("i32.load").op("i32.add").get(p.inner)
        .op("i32.mul");
      body();
    });
  }

  #vector(): void {
    const f = this.#f;
    f.get(this.#to);
    if (this.mode === "set") {
      f.get(this.#from).load("v128.load").store("v128.store");
      return;
    }
    const element = this.element as Arithmetic;
    const op = vectorOps[element][this.mode];
    const source = () => f.get(this.#from).load("v128.load");
    const target = () => f.get(this.#to).load("v128.load");
    if (element === "i64" && (this.mode === "max" || this.mode === "min")) {
      source();
      target();
      source();
      target();
      f.op(op).op("v128.bitselect");
    } else {
      target();
      source();
      f.op(op);
    }
    f.store("v128.store");
  }

  #scalar(offset: number): void {
    const f = this.#f;
    const { element, mode } = this;
    const load = (local: number) => {
      f.get(local);
      if (element === "b8") f.load("i32.load8_u", offset);
      else if (element === "b16") f.load("i32.load16_u", offset);
      else f.load(`${element}.load`, offset);
    };
    f.get(this.#to);
    if (mode === "set") load(this.#from);
    else {
      const op = scalarOps[element as Arithmetic][mode];
      if (op.endsWith("_s")) {
        load(this.#from);
        load(this.#to);
        load(this.#from);
        load(this.#to);
        f.op(op).select();
      } else {
        load(this.#to);
        load(this.#from);
        f.op(op);
      }
    }
    if (element === "b8") f.store("i32.store8", offset);
    else if (element === "b16") f.store("i32.store16", offset);
    else f.store(`${element}.store`, offset);
  }
}

const kernels = new Map<string, CpuKernel>();

function kernelFor(
  element: Element,
  mode: ScatterMode,
  perElement: boolean,
): CpuKernel {
  const key = `scatter ${mode} ${element}${perElement ? " each" : ""}`;
  let kernel = kernels.get(key);
  if (kernel === undefined) {
    const m = new ModuleBuilder();
    m.importMemory("env", "memory", memoryLimits);
    m.func("run", ["i32", "i32", "i32"], [], (f) => {
      new ScatterWriter(f, element, mode, perElement).write();
    });
    kernel = createKernel(key, m.toBytes());
    kernels.set(key, kernel);
  }
  return kernel;
}

function elementOf(dtype: DType, mode: ScatterMode): Element {
  if (mode === "set") return words[bytesOf(dtype)];
  if (
    dtype === "f32" || dtype === "f64" || dtype === "i32" || dtype === "i64"
  ) {
    return dtype;
  }
  throw new DTypeError(
    `Cannot scatter with ${mode} into a tensor of dtype ${dtype}: it takes f32, f64, i32 or i64; convert first`,
  );
}

const parameters = new ParameterBlock(names.length);
/** Elements that one chunk of work should combine at least. */
const chunkElements = 1 << 14;
/** Blocks of the inner axis start at multiples of this many elements, so that no two threads write one cache line. */
const blockElements = 64;

/** Scatters along the middle axis of contiguous data; indices out of range are passed over. */
export function scatter(spec: ScatterSpec): void {
  const { dtype, outer, inner, sourceSize, targetSize } = spec;
  if (outer === 0 || inner === 0 || sourceSize === 0) return;
  const element = elementOf(dtype, spec.mode);
  const kernel = kernelFor(element, spec.mode, spec.perElement);
  const pieces = outer < 8 ? 8 : 1;
  const width = Math.ceil(inner / pieces / blockElements) * blockElements;
  const blocks = Math.ceil(inner / width);
  const address = (b: Block, bytes: number) =>
    b.storage.address + b.offset * bytes;
  const params = parameters.fill(
    address(spec.target, widths[element]),
    address(spec.source, widths[element]),
    address(spec.index, 8),
    targetSize,
    sourceSize,
    inner,
    blocks,
    width,
  );
  const perItem = sourceSize * Math.min(width, inner);
  const grain = Math.max(1, Math.ceil(chunkElements / perItem));
  runKernel(kernel, params, outer * blocks, grain);
}
