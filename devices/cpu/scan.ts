/**
 * Running sums, products and extrema of rows on the CPU, rows in parallel.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import type { Block, ScanSpec } from "../../core/device.ts";
import { DTypeError } from "../../core/errors.ts";
import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import { advance, loadParameters, loopWhileBelow } from "./emit.ts";
import { memoryLimits } from "./memory.ts";
import { type CpuKernel, createKernel, runKernel } from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

type Element = "f32" | "f64" | "i32" | "i64";

const names = ["input", "output", "indices", "length"] as const;

/** Sums and products; those of f32 are carried in f64 and rounded per element, as PyTorch does. */
function accumulate(
  f: FunctionBuilder,
  element: Element,
  op: "sum" | "prod",
  from: number,
  to: number,
  each: (body: () => void) => void,
): void {
  const wide = element === "f32" ? "f64" : element;
  const total = f.local(wide);
  const first = op === "sum" ? 0 : 1;
  if (wide === "f64") f.f64(first);
  else if (wide === "i64") f.i64(BigInt(first));
  else f.i32(first);
  f.set(total);
  each(() => {
    f.get(to).get(total).get(from).load(`${element}.load`);
    if (element === "f32") f.op("f64.promote_f32");
    f.op(`${wide}.${op === "sum" ? "add" : "mul"}`).tee(total);
    if (element === "f32") f.op("f32.demote_f64");
    f.store(`${element}.store`);
  });
}

/** Extrema with their positions: the last of equals, and NaN once there is one. */
function extremum(
  f: FunctionBuilder,
  element: Element,
  op: "max" | "min",
  from: number,
  to: number,
  indicesAt: number,
  each: (body: (position: number) => void) => void,
): void {
  const best = f.local(element), now = f.local(element), at = f.local("i32");
  f.get(from).load(`${element}.load`).set(best);
  f.i32(0).set(at);
  each((position) => {
    f.get(from).load(`${element}.load`).set(now);
    const side = op === "max" ? "ge" : "le";
    f.get(now).get(best);
    if (element === "f32" || element === "f64") {
      // A NaN wins over everything, and is only replaced by a later one.
      f.op(`${element}.${side}`);
      f.get(now).get(now).op(`${element}.ne`).op("i32.or");
    } else f.op(`${element}.${side}_s`);
    f.if(() => {
      f.get(now).set(best).get(position).set(at);
    });
    f.get(to).get(best).store(`${element}.store`);
    f.get(indicesAt).if(() => {
      f.get(indicesAt).get(at).op("i64.extend_i32_u").store("i64.store");
      advance(f, indicesAt, () => f.i32(8));
    });
  });
}

function write(f: FunctionBuilder, element: Element, op: ScanSpec["op"]): void {
  const p = loadParameters(f, names);
  const bytes = bytesOf(element);
  const row = f.local("i32"), i = f.local("i32");
  const from = f.local("i32"), to = f.local("i32"), indicesAt = f.local("i32");
  f.get(1).set(row);
  const start = (local: number, block: number, width: number) =>
    f.get(row).get(p.length).op("i32.mul").i32(width).op("i32.mul").get(block)
      .op("i32.add").set(local);
  loopWhileBelow(f, row, () => f.get(2), 1, () => {
    start(from, p.input, bytes);
    start(to, p.output, bytes);
    f.i32(0).set(indicesAt);
    f.get(p.indices).if(() => void start(indicesAt, p.indices, 8));
    const each = (body: (position: number) => void) => {
      f.i32(0).set(i);
      loopWhileBelow(f, i, () => f.get(p.length), 1, () => {
        body(i);
        advance(f, from, () => f.i32(bytes));
        advance(f, to, () => f.i32(bytes));
      });
    };
    if (op === "sum" || op === "prod") {
      accumulate(f, element, op, from, to, each);
    } else extremum(f, element, op, from, to, indicesAt, each);
  });
}

const kernels = new Map<string, CpuKernel>();

function kernelFor(element: Element, op: ScanSpec["op"]): CpuKernel {
  const key = `scan ${op} ${element}`;
  let kernel = kernels.get(key);
  if (kernel === undefined) {
    const m = new ModuleBuilder();
    m.importMemory("env", "memory", memoryLimits);
    m.func("run", ["i32", "i32", "i32"], [], (f) => write(f, element, op));
    kernel = createKernel(key, m.toBytes());
    kernels.set(key, kernel);
  }
  return kernel;
}

function elementOf(dtype: DType, op: ScanSpec["op"]): Element {
  if (
    dtype === "f32" || dtype === "f64" || dtype === "i32" || dtype === "i64"
  ) {
    return dtype;
  }
  throw new DTypeError(
    `Cannot scan (${op}) a tensor of dtype ${dtype}: it takes f32, f64, i32 or i64; convert first`,
  );
}

const parameters = new ParameterBlock(names.length);
/** Elements that one chunk of work should walk at least. */
const chunkElements = 1 << 14;

/** Scans each row. */
export function scan(spec: ScanSpec): void {
  const { dtype, op, rows, length, input, output, indices } = spec;
  if (rows === 0 || length === 0) return;
  const bytes = bytesOf(dtype);
  const kernel = kernelFor(elementOf(dtype, op), op);
  const address = (b: Block, width: number) =>
    b.storage.address + b.offset * width;
  const params = parameters.fill(
    address(input, bytes),
    address(output, bytes),
    indices === undefined ? 0 : address(indices, 8),
    length,
  );
  runKernel(
    kernel,
    params,
    rows,
    Math.max(1, Math.ceil(chunkElements / length)),
  );
}
