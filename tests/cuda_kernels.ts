/**
 * A collection of kernels for the tests that compile them: every operation,
 * dtype and shape of row programs, and the kernels that are no row programs.
 */

import { type DType, isFloat } from "../core/dtype.ts";
import { contiguousStrides } from "../core/shape.ts";
import type { CudaContext, CudaFunction } from "../devices/cuda/context.ts";
import { launch } from "../devices/cuda/launch.ts";
import { bounds } from "../devices/cuda/launch_shape.ts";
import { scan } from "../devices/cuda/scan.ts";
import { scatter } from "../devices/cuda/scatter.ts";
import { sort } from "../devices/cuda/sort.ts";
import * as k from "../kernel/expr.ts";
import {
  type Output,
  type Program,
  program,
  type Stage,
} from "../kernel/program.ts";
import {
  allDTypes,
  at,
  dense,
  normProgram,
  numberedProgram,
  operationPrograms,
  reduceProgram,
  reducible,
  scalarTypes,
  softmaxProgram,
} from "./cuda_programs.ts";

/** A kernel as it is compiled. */
export interface KernelSource {
  readonly source: string;
  readonly entry: string;
}

/** A launch as the driver would see it. */
export interface Launched extends KernelSource {
  readonly blocks: number;
  readonly threads: number;
}

/** A device that only writes down what it is asked to compile and to launch. */
export class Recorder implements CudaContext {
  readonly ordinal = 0;
  readonly name = "cuda:0";
  readonly model = "a model";
  readonly major = 8;
  readonly minor = 0;
  readonly multiprocessors = 108;
  readonly sharedMemoryPerBlock = 227 << 10;
  readonly stream = 0n;
  readonly copyStream = 0n;
  readonly options = { tf32: false, benchmark: false, sync: false };
  /** Sources that were compiled. */
  readonly sources: KernelSource[] = [];
  /** Launches, in order. */
  readonly launches: Launched[] = [];
  readonly #sources = new Map<CudaFunction, string>();
  activate(): void {}
  called(): void {}
  queued(): void {}
  onClose(): void {}
  workspace(): bigint {
    return 1n << 32n;
  }
  compile(source: string, entry: string): CudaFunction {
    this.sources.push({ source, entry });
    const fn = { entry, handle: 0n };
    this.#sources.set(fn, source);
    return fn;
  }
  launch(
    fn: CudaFunction,
    blocks: number,
    _y: number,
    _z: number,
    threads: number,
  ): void {
    const source = this.#sources.get(fn)!;
    this.launches.push({ source, entry: fn.entry, blocks, threads });
  }
}

/** Extents, number of outer axes, and strides that reach each shape of a row kernel. */
const rowShapes: readonly (readonly [number[], number, number[]?])[] = [
  [[5], 0],
  [[1000], 0],
  [[1 << 20], 0],
  [[(1 << 20) + 1], 0],
  [[100, 7], 1],
  [[100, 64], 1],
  [[100, 1000], 1],
  [[64, 4096], 1],
  [[300, 30000], 1],
  [[4, 200000], 1],
  [[1000, 9], 1, [1, 1000]],
  [[1000, 100], 1, [1, 1000]],
  [[768, 8192], 1, [1, 768]],
  [[4, 5, 6, 7], 2],
  [[64, 8, 100], 1, [100, 6400, 1]],
];

/** All shapes for a sum and a position over some dtypes, a few for the others. */
function shapesOf(op: Stage["op"], dtype: DType): typeof rowShapes {
  return ["sum", "argmax"].includes(op) &&
      ["f32", "bf16", "i64"].includes(dtype)
    ? rowShapes
    : [rowShapes[5], rowShapes[7], rowShapes[9], rowShapes[11]];
}

/** Launches every shape of a program whose operands are all per element. */
function launchShapes(
  context: CudaContext,
  p: Program,
  shapes = rowShapes,
): void {
  for (const [sizes, outerRank, strides] of shapes) {
    const own = strides ?? contiguousStrides(sizes);
    const inputs = p.inputs.map((dtype, i) =>
      at(dtype, i === 0 ? own : own.map((s, d) => d < outerRank ? 0 : s))
    );
    launch(context, dense(p, sizes, outerRank, inputs));
  }
}

/** Every elementwise shape of a program: flat, cut short, unaligned, broadcast, strided, wide. */
function launchElementwise(context: CudaContext, p: Program): void {
  launch(context, dense(p, [4096]));
  launch(context, dense(p, [4099]));
  launch(
    context,
    dense(p, [4099], 0, p.inputs.map((dtype) => at(dtype, [1], 8))),
  );
  launch(
    context,
    dense(
      p,
      [3, 5, 64],
      2,
      p.inputs.map((dtype, i) => at(dtype, i === 0 ? [0, 64, 1] : [1, 0, 0])),
    ),
  );
  launch(
    context,
    dense(p, [3, 5, 7], 0, p.inputs.map((dtype) => at(dtype, [1, 21, 3]))),
  );
}

/** Compiles the collection on a recorder. */
export function collectKernels(): KernelSource[] {
  const context = new Recorder();
  const before = bounds.small;
  collectSmall(context);
  bounds.small = 0;
  try {
    collectLarge(context);
  } finally {
    bounds.small = before;
  }
  const distinct = new Map(context.sources.map((s) => [s.source, s]));
  return [...distinct.values()];
}

/** The shapes that few elements have. */
function collectSmall(context: CudaContext): void {
  for (const dtype of ["f32", "bf16"] as const) {
    launchShapes(context, normProgram(dtype), rowShapes.slice(0, 6));
    launchShapes(
      context,
      reduceProgram("argmax", dtype),
      rowShapes.slice(0, 6),
    );
    launchElementwise(context, numberedProgram(dtype));
  }
}

/** The shapes that many elements have. */
function collectLarge(context: CudaContext): void {
  for (const type of scalarTypes) {
    for (const p of operationPrograms(type)) launch(context, dense(p, [4096]));
  }
  for (const dtype of allDTypes) {
    const inputs = allDTypes;
    const exprs = inputs.map((from, i) => k.input(i, k.computeType(from)));
    const convert = program(inputs, ["f32", "f64", "i64", "i32"], [], [
      ...exprs.map((e): Output => ({
        dtype,
        per: "element",
        value: k.roundTo(k.cast(e, k.computeType(dtype)), dtype),
      })),
      {
        dtype: "f64",
        per: "element",
        value: k.add(
          k.scalar(1, "f64"),
          k.cast(
            k.add(k.scalar(2, "i64"), k.cast(k.scalar(0, "f32"), "i64")),
            "f64",
          ),
        ),
      },
    ]);
    launchElementwise(context, convert);
    const table = program(["i32", dtype], [], [], [{
      dtype,
      per: "element",
      value: k.load(
        1,
        k.computeType(dtype),
        k.add(k.input(0, "i32"), k.add(k.coord(0), k.linear())),
      ),
    }]);
    launchElementwise(context, table);
    for (
      const op of ["sum", "prod", "max", "min", "argmax", "argmin"] as const
    ) {
      const p = reduceProgram(op, dtype);
      launchShapes(context, p, shapesOf(op, dtype));
    }
    const x = reducible(k.input(0, k.computeType(dtype)));
    launchShapes(
      context,
      program([dtype], [], [
        { op: "max", value: x },
        { op: "argmin", value: k.mul(x, k.stage(0, x.type)) },
      ], [
        {
          dtype: "i64",
          per: "element",
          value: k.add(k.add(k.stage(1, "i32"), k.coord(0)), k.linear()),
        },
        { dtype: "i64", per: "row", value: k.stage(1, "i32") },
      ]),
      shapesOf("max", dtype),
    );
    for (const descending of [false, true]) {
      for (const length of [2, 100, 4096, 5000]) {
        const block = at(dtype, []);
        sort(context, {
          dtype,
          rows: 3,
          length,
          descending,
          input: block,
          values: block,
          indices: block,
        });
      }
    }
    if (isFloat(dtype)) {
      launchShapes(context, softmaxProgram(dtype as "f32"));
      launchShapes(context, normProgram(dtype as "f32"));
    }
    for (const mode of ["set", "add", "mul", "max", "min"] as const) {
      if (mode !== "set" && !["f32", "f64", "i32", "i64"].includes(dtype)) {
        continue;
      }
      for (const perElement of [true, false]) {
        for (
          const [sourceSize, targetSize] of [[8, 9], [1000, 100], [
            100,
            2 ** 33,
          ]]
        ) {
          const block = at(dtype, []);
          scatter(context, {
            dtype,
            mode,
            outer: 2,
            targetSize,
            sourceSize,
            inner: 3,
            target: block,
            source: block,
            index: block,
            perElement,
          });
        }
      }
    }
    if (["f32", "f64", "i32", "i64"].includes(dtype)) {
      for (const op of ["sum", "prod", "max", "min"] as const) {
        for (const length of [8, 1000, 1 << 20]) {
          const block = at(dtype, []);
          scan(context, {
            dtype,
            op,
            rows: 2,
            length,
            input: block,
            output: block,
            indices: op === "max" ? block : undefined,
          });
        }
      }
    }
  }
  collectWide(context);
  collectShared(context);
}

/** Rows that wait in shared memory. */
function collectShared(context: CudaContext): void {
  const before = bounds.registers;
  bounds.registers = 0;
  try {
    for (const dtype of ["f32", "bf16", "f64"] as const) {
      launchShapes(context, softmaxProgram(dtype), rowShapes.slice(6, 9));
      launchShapes(context, normProgram(dtype), rowShapes.slice(6, 9));
    }
  } finally {
    bounds.registers = before;
  }
}

/** The variants with 64-bit indices. */
function collectWide(context: CudaContext): void {
  const before = bounds.narrow;
  bounds.narrow = 4;
  try {
    for (const dtype of ["f32", "bf16"] as const) {
      launchShapes(context, softmaxProgram(dtype));
      launchShapes(context, normProgram(dtype));
      launchShapes(context, reduceProgram("argmax", dtype));
      launchElementwise(context, numberedProgram(dtype));
    }
  } finally {
    bounds.narrow = before;
  }
}
