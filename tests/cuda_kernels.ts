/**
 * A collection of kernels for the tests that compile them: every operation,
 * dtype and shape of row programs, and the kernels that are no row programs.
 */

import type { Launch, Strided } from "../core/device.ts";
import { type DType, dtypes, isFloat } from "../core/dtype.ts";
import { contiguousStrides } from "../core/shape.ts";
import type { CudaContext, CudaFunction } from "../devices/cuda/context.ts";
import { launch } from "../devices/cuda/launch.ts";
import { bounds } from "../devices/cuda/launch_shape.ts";
import { scan } from "../devices/cuda/scan.ts";
import { scatter } from "../devices/cuda/scatter.ts";
import { sort } from "../devices/cuda/sort.ts";
import { rules } from "../kernel/cuda/ops.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ExprOp, ScalarType } from "../kernel/expr.ts";
import {
  type Output,
  type Program,
  program,
  type Stage,
  stageType,
} from "../kernel/program.ts";

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

/** All dtypes. */
export const allDTypes = Object.keys(dtypes) as DType[];

/** An operand at an address, by default an aligned one. */
export function at(
  dtype: DType,
  strides: readonly number[],
  address = 1 << 20,
): Strided {
  return {
    storage: { address } as Strided["storage"],
    dtype,
    offset: 0,
    strides,
  };
}

/** A launch over contiguous operands. */
export function dense(
  p: Program,
  sizes: readonly number[],
  outerRank = 0,
  inputs?: readonly Strided[],
): Launch {
  const strides = contiguousStrides(sizes);
  const perRow = [
    ...contiguousStrides(sizes.slice(0, outerRank)),
    ...sizes.slice(outerRank).map(() => 0),
  ];
  return {
    program: p,
    sizes,
    outerRank,
    inputs: inputs ?? p.inputs.map((dtype) => at(dtype, strides)),
    limits: p.inputs.map(() => 1000),
    outputs: p.outputs.map(({ dtype, per }) =>
      at(dtype, per === "element" ? strides : perRow)
    ),
    scalars: p.scalars.map((_, i) => i + 1),
  };
}

const scalarTypes: readonly ScalarType[] = ["f32", "f64", "i32", "i64", "bool"];
const leaves: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "const",
  "input",
  "scalar",
  "coord",
  "linear",
  "stage",
  "load",
]);
const comparisons: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "lt",
  "le",
  "eq",
  "ne",
]);
const shifts: ReadonlySet<ExprOp> = new Set<ExprOp>(["shl", "shr", "shru"]);
const ofI32: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "mulhiu",
  "wrapU8",
  "wrapI8",
]);
const ofF32: ReadonlySet<ExprOp> = new Set<ExprOp>(["roundF16", "roundBf16"]);
const ofFloats: ReadonlySet<ExprOp> = new Set<ExprOp>([
  ...k.floatFunctions,
  "pow",
  "atan2",
]);
const ofBits: ReadonlySet<ExprOp> = new Set<ExprOp>([
  "and",
  "or",
  "xor",
  "not",
]);
const unary: ReadonlySet<ExprOp> = new Set<ExprOp>([
  ...k.floatFunctions,
  "neg",
  "abs",
  "not",
  "shl",
  "shr",
  "shru",
  "roundF16",
  "roundBf16",
  "wrapU8",
  "wrapI8",
]);

/** Whether an operation takes operands of a type. */
export function takes(op: ExprOp, type: ScalarType): boolean {
  if (ofI32.has(op)) return type === "i32";
  if (ofF32.has(op)) return type === "f32";
  if (ofFloats.has(op)) return type === "f32" || type === "f64";
  if (shifts.has(op)) return type === "i32" || type === "i64";
  if (ofBits.has(op)) return type !== "f32" && type !== "f64";
  if (comparisons.has(op) || op === "select") return true;
  return type !== "bool";
}

/** Every use of every operation on operands a, b, c of a type; shifts by some numbers of bits, casts to all types. */
export function usesOf(op: ExprOp, a: Expr, b: Expr, c: Expr): Expr[] {
  const { type } = a;
  if (leaves.has(op)) return [];
  if (op === "cast") return scalarTypes.map((to) => k.cast(a, to));
  if (op === "bitcast") {
    const pairs: Partial<Record<ScalarType, ScalarType>> = {
      f32: "i32",
      i32: "f32",
      f64: "i64",
      i64: "f64",
    };
    const to = pairs[type];
    return to === undefined ? [] : [k.bitcast(a, to)];
  }
  if (!takes(op, type)) return [];
  if (shifts.has(op)) {
    const most = type === "i64" ? 63 : 31;
    return [0, 1, 7, most].map((bits) => k.node(op, type, [a], bits));
  }
  if (op === "select") return [k.select(k.lt(a, b), b, c)];
  if (op === "fma") return [k.fma(a, b, c)];
  if (unary.has(op)) return [k.node(op, type, [a])];
  return [k.node(op, comparisons.has(op) ? "bool" : type, [a, b])];
}

/** All operations. */
export const allOps = Object.keys(rules) as ExprOp[];

/** The dtype that stores a computed type. */
export function storedAs(type: ScalarType): DType {
  return type;
}

/** Programs with all uses of all operations on a type, a few outputs each. */
export function operationPrograms(type: ScalarType): Program[] {
  const [a, b, c] = [0, 1, 2].map((i) => k.input(i, type));
  const all = allOps.flatMap((op) => usesOf(op, a, b, c));
  const programs: Program[] = [];
  for (let i = 0; i < all.length; i += 8) {
    programs.push(program(
      [storedAs(type), storedAs(type), storedAs(type)],
      [],
      [],
      all.slice(i, i + 8).map((value) => ({
        dtype: storedAs(value.type),
        per: "element",
        value,
      })),
    ));
  }
  return programs;
}

/** Operand of a dtype as a value of a type that stages reduce. */
function reducible(x: Expr): Expr {
  return x.type === "bool" ? k.cast(x, "i32") : x;
}

function rowOutput(s: number, stage: Stage): Output {
  const type = stageType(stage);
  return { dtype: type as DType, per: "row", value: k.stage(s, type) };
}

/** A softmax. */
export function softmaxProgram(dtype: "f32" | "f64" | "f16" | "bf16"): Program {
  const x = k.input(0, k.computeType(dtype));
  const e = k.exp(k.sub(x, k.stage(0, x.type)));
  return program([dtype], [], [
    { op: "max", value: x },
    { op: "sum", value: e },
  ], [{
    dtype,
    per: "element",
    value: k.roundTo(k.mul(e, k.div(1, k.stage(1, x.type))), dtype),
  }]);
}

/** Elements times their numbers. */
function numberedProgram(dtype: "f32" | "bf16"): Program {
  const value = k.mul(k.input(0, "f32"), k.cast(k.linear(), "f32"));
  return program([dtype], [], [], [
    { dtype, per: "element", value: k.roundTo(value, dtype) },
  ]);
}

/** A layer norm with weight and bias per element of the row, and the statistics. */
export function normProgram(dtype: "f32" | "f64" | "f16" | "bf16"): Program {
  const type = k.computeType(dtype);
  const [x, w, b] = [0, 1, 2].map((i) => k.input(i, type));
  const n = k.scalar(0, type);
  const mean = k.div(k.stage(0, type), n);
  const d = k.sub(x, mean);
  const scale = k.div(
    1,
    k.sqrt(k.add(k.div(k.stage(1, type), n), k.scalar(1, type))),
  );
  return program([dtype, dtype, dtype], [type, type], [
    { op: "sum", value: x },
    { op: "sum", value: k.mul(d, d) },
  ], [
    {
      dtype,
      per: "element",
      value: k.roundTo(k.fma(d, k.mul(scale, w), b), dtype),
    },
    { dtype: type as DType, per: "row", value: mean },
    { dtype: type as DType, per: "row", value: scale },
  ]);
}

/** A reduction of one operand. */
export function reduceProgram(op: Stage["op"], dtype: DType): Program {
  const stage = {
    op,
    value: reducible(k.input(0, k.computeType(dtype))),
  };
  return program([dtype], [], [stage], [rowOutput(0, stage)]);
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
