/**
 * Stable sort of rows on the CPU, rows in parallel.
 *
 * Each element becomes an unsigned key whose order is the wanted one (NaN
 * above everything, −0 equal to 0), with its position beside it. Short rows
 * are sorted by insertion, others byte by byte from the lowest (radix sort);
 * a byte in which all keys agree costs no pass.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import type { Block, SortSpec } from "../../core/device.ts";
import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import { type Emit, loadParameters, loopWhileBelow } from "./emit.ts";
import { allocate, memoryLimits, release } from "./memory.ts";
import { type CpuKernel, createKernel, runKernel, threads } from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

const names = [
  "input",
  "values",
  "indices",
  "length",
  "scratch",
  "scratchBytes",
  "flip",
] as const;

/** Rows up to this length are sorted by insertion. */
const insertionLength = 40;

/** Bytes of a key with its position: 4 + 4, or 8 + 8 for wide keys. */
function pairBytes(dtype: DType): number {
  return bytesOf(dtype) === 8 ? 16 : 8;
}

/** Room that one row needs: two arrays of pairs, and 256 counts per byte of the key. */
function scratchBytes(dtype: DType, length: number): number {
  const bytes = 2 * length * pairBytes(dtype) + bytesOf(dtype) * 1024;
  return Math.ceil(bytes / 64) * 64;
}

/** Pushes the key of the element whose address `at` pushes: i64 for 8-byte dtypes, else i32. */
function pushKey(f: FunctionBuilder, dtype: DType, at: Emit): void {
  switch (dtype) {
    case "u8":
    case "bool":
      at();
      f.load("i32.load8_u");
      return;
    case "i8":
      at();
      f.load("i32.load8_u").i32(0x80).op("i32.xor");
      return;
    case "i32":
      at();
      f.load("i32.load").i32(0x80000000).op("i32.xor");
      return;
    case "i64":
      at();
      f.load("i64.load").i64(1n << 63n).op("i64.xor");
      return;
    case "f16":
    case "bf16":
      pushHalfKey(f, dtype === "f16" ? 0x7c00 : 0x7f80, at);
      return;
    case "f32": {
      const x = f.local("f32"), bits = f.local("i32");
      at();
      // Adding 0 makes 0 of −0.
      f.load("f32.load").f32(0).op("f32.add").tee(x).op("i32.reinterpret_f32")
        .set(bits);
      f.get(bits).get(bits).i32(31).op("i32.shr_s").i32(0x80000000)
        .op("i32.or").op("i32.xor");
      f.i32(-1).get(x).get(x).op("f32.eq").select();
      return;
    }
    case "f64": {
      const x = f.local("f64"), bits = f.local("i64");
      at();
      f.load("f64.load").f64(0).op("f64.add").tee(x).op("i64.reinterpret_f64")
        .set(bits);
      f.get(bits).get(bits).i64(63n).op("i64.shr_s").i64(1n << 63n)
        .op("i64.or").op("i64.xor");
      f.i64(-1n).get(x).get(x).op("f64.eq").select();
      return;
    }
    default:
      dtype satisfies never;
  }
}

function pushHalfKey(f: FunctionBuilder, infinity: number, at: Emit): void {
  const bits = f.local("i32"), size = f.local("i32");
  at();
  f.load("i32.load16_u").tee(bits).i32(0x7fff).op("i32.and").set(size);
  // Negative: all bits turned over; else the sign bit set; zeros of both signs alike.
  f.get(bits).i32(0xffff).op("i32.xor");
  f.get(bits).i32(0x8000).op("i32.or");
  f.get(bits).i32(0x8000).op("i32.gt_u").select();
  f.i32(0x8000).get(size).select();
  f.i32(0xffff).get(size).i32(infinity).op("i32.le_u").select();
}

/** Writes the kernel of one dtype. */
class SortWriter {
  readonly #p: Readonly<Record<typeof names[number], number>>;
  readonly #bytes: number;
  readonly #pair: number;
  readonly #wide: boolean;
  readonly #row: number;
  readonly #i: number;
  readonly #at: number;
  readonly #a: number;
  readonly #b: number;
  readonly #counts: number;

  constructor(
    readonly f: FunctionBuilder,
    readonly dtype: DType,
    thread: number,
  ) {
    this.#bytes = bytesOf(dtype);
    this.#pair = pairBytes(dtype);
    this.#wide = this.#pair === 16;
    const p = this.#p = loadParameters(f, names);
    const local = () => f.local("i32");
    [this.#row, this.#i, this.#at] = [local(), local(), local()];
    [this.#a, this.#b, this.#counts] = [local(), local(), local()];
    f.global(thread).get(p.scratchBytes).op("i32.mul").get(p.scratch)
      .op("i32.add").set(p.scratch);
  }

  /** The body of `run(params, begin, end)`. */
  write(): void {
    const { f } = this;
    const p = this.#p;
    f.get(1).set(this.#row);
    loopWhileBelow(f, this.#row, () => f.get(2), 1, () => {
      f.get(p.scratch).set(this.#a);
      this.#pairAt(this.#a, () => f.get(p.length)).set(this.#b);
      this.#pairAt(this.#b, () => f.get(p.length)).set(this.#counts);
      this.#makePairs();
      f.get(p.length).i32(insertionLength).op("i32.le_u");
      f.if(() => this.#insertion(), () => this.#radix());
      this.#store();
    });
  }

  /** Pushes base + n · (bytes of a pair). */
  #pairAt(base: number, n: Emit): FunctionBuilder {
    const { f } = this;
    f.get(base);
    n();
    return f.i32(this.#pair).op("i32.mul").op("i32.add");
  }

  /** Pushes the address of the row's first element. */
  #rowAt(block: number, bytes: number): FunctionBuilder {
    const p = this.#p;
    return this.f.get(this.#row).get(p.length).op("i32.mul").i32(bytes)
      .op("i32.mul").get(block).op("i32.add");
  }

  /** Calls `body` for each i below the length, `at` walking by `step` from what it holds. */
  #walk(step: number, body: Emit): void {
    const { f } = this;
    f.i32(0).set(this.#i);
    loopWhileBelow(f, this.#i, () => f.get(this.#p.length), 1, () => {
      body();
      f.get(this.#at).i32(step).op("i32.add").set(this.#at);
    });
  }

  #makePairs(): void {
    const { f } = this;
    const from = f.local("i32");
    const p = this.#p;
    this.#rowAt(p.input, this.#bytes).set(from);
    f.get(this.#a).set(this.#at);
    this.#walk(this.#pair, () => {
      f.get(this.#at);
      pushKey(f, this.dtype, () => f.get(from));
      if (this.#wide) {
        f.get(p.flip).op("i64.extend_i32_s").op("i64.xor").store("i64.store");
        f.get(this.#at).get(this.#i).op("i64.extend_i32_u")
          .store("i64.store", 8);
      } else {
        f.get(p.flip).op("i32.xor").store("i32.store", 4);
        f.get(this.#at).get(this.#i).store("i32.store");
      }
      f.get(from).i32(this.#bytes).op("i32.add").set(from);
    });
  }

  #insertion(): void {
    const { f } = this;
    const pair = f.local(this.#wide ? "v128" : "i64");
    const key = f.local("i64"), to = f.local("i32");
    const load = this.#wide ? "v128.load" : "i64.load";
    const store = this.#wide ? "v128.store" : "i64.store";
    f.get(this.#a).set(this.#at);
    this.#walk(this.#pair, () => {
      f.get(this.#at).load(load).set(pair);
      f.get(this.#at).load("i64.load").set(key);
      f.get(this.#at).set(to);
      f.block((placed) => {
        f.loop((again) => {
          f.get(to).get(this.#a).op("i32.le_u").brIf(placed);
          f.get(to).i32(this.#pair).op("i32.sub").load("i64.load").get(key)
            .op("i64.le_u").brIf(placed);
          f.get(to).get(to).i32(this.#pair).op("i32.sub").load(load)
            .store(store);
          f.get(to).i32(this.#pair).op("i32.sub").set(to).br(again);
        });
      });
      f.get(to).get(pair).store(store);
    });
  }

  #radix(): void {
    const { f } = this;
    const p = this.#p;
    const load = this.#wide ? "v128.load" : "i64.load";
    const store = this.#wide ? "v128.store" : "i64.store";
    const keyOffset = this.#wide ? 0 : 4;
    const slot = f.local("i32"), total = f.local("i32"), to = f.local("i32");
    f.get(this.#counts).i32(0).i32(this.#bytes * 1024).op("memory.fill");
    f.get(this.#a).set(this.#at);
    // Address of the count for byte `b` of the pair at `at`.
    const countOf = (b: number) =>
      f.get(this.#at).load("i32.load8_u", keyOffset + b).i32(4).op("i32.mul")
        .get(this.#counts).op("i32.add").i32(b * 1024).op("i32.add");
    this.#walk(this.#pair, () => {
      for (let b = 0; b < this.#bytes; b++) {
        countOf(b).tee(slot).get(slot).load("i32.load").i32(1).op("i32.add")
          .store("i32.store");
      }
    });
    for (let b = 0; b < this.#bytes; b++) {
      f.get(this.#a).set(this.#at);
      countOf(b).load("i32.load").get(p.length).op("i32.ne");
      f.if(() => {
        // Counts become places.
        f.i32(0).set(total).i32(0).set(this.#i);
        loopWhileBelow(f, this.#i, () => f.i32(256), 1, () => {
          f.get(this.#i).i32(4).op("i32.mul").get(this.#counts).op("i32.add")
            .i32(b * 1024).op("i32.add").tee(slot).load("i32.load");
          f.get(slot).get(total).store("i32.store");
          f.get(total).op("i32.add").set(total);
        });
        this.#walk(this.#pair, () => {
          countOf(b).tee(slot).load("i32.load").tee(to).i32(1).op("i32.add")
            .set(total);
          f.get(slot).get(total).store("i32.store");
          this.#pairAt(this.#b, () => f.get(to)).get(this.#at).load(load)
            .store(store);
        });
        f.get(this.#a).get(this.#b).set(this.#a).set(this.#b);
      });
    }
  }

  #store(): void {
    const { f } = this;
    const p = this.#p;
    const from = f.local("i32"), to = f.local("i32"), toIndex = f.local("i32");
    const index = f.local("i32");
    this.#rowAt(p.input, this.#bytes).set(from);
    this.#rowAt(p.values, this.#bytes).set(to);
    this.#rowAt(p.indices, 8).set(toIndex);
    f.get(this.#a).set(this.#at);
    this.#walk(this.#pair, () => {
      f.get(this.#at).load("i32.load", this.#wide ? 8 : 0).set(index);
      f.get(toIndex).get(index).op("i64.extend_i32_u").store("i64.store");
      f.get(to);
      f.get(index).i32(this.#bytes).op("i32.mul").get(from).op("i32.add");
      if (this.#bytes === 1) f.load("i32.load8_u").store("i32.store8");
      else if (this.#bytes === 2) f.load("i32.load16_u").store("i32.store16");
      else if (this.#bytes === 4) f.load("i32.load").store("i32.store");
      else f.load("i64.load").store("i64.store");
      f.get(to).i32(this.#bytes).op("i32.add").set(to);
      f.get(toIndex).i32(8).op("i32.add").set(toIndex);
    });
  }
}

const kernels = new Map<DType, CpuKernel>();

function kernelFor(dtype: DType): CpuKernel {
  let kernel = kernels.get(dtype);
  if (kernel === undefined) {
    const m = new ModuleBuilder();
    m.importMemory("env", "memory", memoryLimits);
    const thread = m.importGlobal("env", "thread", "i32");
    m.func("run", ["i32", "i32", "i32"], [], (f) => {
      new SortWriter(f, dtype, thread).write();
    });
    kernel = createKernel(`sort ${dtype}`, m.toBytes());
    kernels.set(dtype, kernel);
  }
  return kernel;
}

const parameters = new ParameterBlock(names.length);
/** Elements that one chunk of work should sort at least. */
const chunkElements = 1 << 11;

/** Sorts each row. */
export function sort(spec: SortSpec): void {
  const { dtype, rows, length, input, values, indices } = spec;
  if (rows === 0 || length === 0) return;
  const bytes = bytesOf(dtype);
  const grain = Math.max(1, Math.ceil(chunkElements / length));
  // Only the main thread runs a single chunk.
  const users = rows <= grain ? 1 : threads();
  const each = scratchBytes(dtype, length);
  const scratch = allocate(each * users);
  const address = (b: Block, width: number) =>
    b.storage.address + b.offset * width;
  const flip = spec.descending ? (bytes < 4 ? 2 ** (8 * bytes) - 1 : -1) : 0;
  try {
    const params = parameters.fill(
      address(input, bytes),
      address(values, bytes),
      address(indices, 8),
      length,
      scratch,
      each,
      flip,
    );
    runKernel(kernelFor(dtype), params, rows, grain);
  } finally {
    release(scratch);
  }
}
