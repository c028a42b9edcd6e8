/**
 * Checks an operator on each of its samples: forward and gradients against
 * PyTorch's golden values, gradients and second derivatives against finite
 * differences in f64, strided and pending operands against plain ones, and no
 * memory left behind. An operator without samples fails.
 */

import { assert, assertEquals } from "@std/assert";
import { defaultDevice, gradients, memory, scope, Tensor } from "../mod.ts";
import type { DeviceKernels } from "../core/device.ts";
import {
  type DType,
  getElement,
  hostArray,
  isFloat,
  setElement,
} from "../core/dtype.ts";
import type { OpInfo, Sample, SampleTensor } from "../core/op.ts";
import { dense } from "../core/row_kernels.ts";
import {
  channelsLastStrides,
  contiguousStrides,
  sizeOf,
} from "../core/shape.ts";
import { fromHost } from "../core/tensor.ts";
import { sum } from "../ops/foundation.ts";
import { add, mul } from "../ops/arithmetic.ts";
import {
  decodeTensor,
  type EncodedTensor,
  encodeSample,
  type GoldenResult,
  goldenWeight,
  readGolden,
} from "./golden/samples.ts";

function isSample(x: unknown): x is SampleTensor {
  return (x as SampleTensor | undefined)?.sample === true;
}

/** How operands are brought into memory. */
type Layout =
  | "plain"
  | "strided"
  | "pending"
  | "channels last"
  | "composed";

/** |computed − expected| ≤ tolerance · (1 + |expected|), by dtype of the result. */
export const tolerance: Record<DType, number> = {
  f32: 2e-5,
  f64: 1e-9,
  f16: 4e-3,
  bf16: 3e-2,
  i64: 0,
  i32: 0,
  i8: 0,
  u8: 0,
  bool: 0,
};

/** The sample's elements as its own dtype holds them. */
function elementsOf(s: SampleTensor): number[] {
  const own = hostArray(s.dtype, s.data.length);
  return s.data.map((value, i) => {
    setElement(own, s.dtype, i, value);
    return getElement(own, s.dtype, i);
  });
}

/** A tensor of a sample; floats as `float` when given. */
function make(
  s: SampleTensor,
  layout: Layout,
  float?: DType,
  data: ArrayLike<number> = elementsOf(s),
): Tensor {
  const dtype = float !== undefined && isFloat(s.dtype) ? float : s.dtype;
  const size = sizeOf(s.shape);
  const requiresGrad = s.grad && isFloat(dtype);
  if (layout === "strided" && s.shape.length > 0 && size > 0) {
    // Every second element of a longer buffer, after one element of junk.
    const host = hostArray(dtype, 2 * size + 1);
    for (let i = 0; i < size; i++) setElement(host, dtype, 2 * i + 1, data[i]);
    const whole = fromHost(host, dtype, [2 * size + 1]);
    const strides = contiguousStrides(s.shape).map((n) => 2 * n);
    const tensor = new Tensor(whole.value.view(s.shape, strides, 1));
    tensor.requiresGrad = requiresGrad;
    return tensor;
  }
  const host = hostArray(dtype, size);
  for (let i = 0; i < size; i++) setElement(host, dtype, i, data[i]);
  const tensor = layout === "channels last" && mayLieLast(s)
    ? new Tensor(
      dense(fromHost(host, dtype, s.shape).value, channelsLastStrides(s.shape)),
    )
    : fromHost(host, dtype, s.shape);
  const result = layout === "pending" && isFloat(dtype)
    ? mul(tensor, 1)
    : tensor;
  result.requiresGrad = requiresGrad;
  return result;
}

/** Calls the operator with the sample tensors replaced. */
function call(
  info: OpInfo,
  sample: Sample,
  replace: (s: SampleTensor) => Tensor,
): Tensor[] {
  const walk = (x: unknown): unknown =>
    isSample(x)
      ? replace(x)
      : Array.isArray(x)
      ? x.map(walk)
      : isPlain(x)
      ? Object.fromEntries(
        Object.entries(x).map(([key, value]) => [key, walk(value)]),
      )
      : x;
  const result = info.call(...sample.map(walk));
  return (Array.isArray(result) ? result : [result]).filter((r) =>
    r instanceof Tensor
  );
}

function isPlain(x: unknown): x is Record<string, unknown> {
  return typeof x === "object" && x !== null &&
    Object.getPrototypeOf(x) === Object.prototype;
}

/** Whether a tensor can lie in memory as images with their channels last. */
function mayLieLast({ shape }: SampleTensor): boolean {
  return shape.length >= 3 && shape.length <= 5 && !shape.includes(0);
}

/** The operands of a sample by name; those of a list `xs` are `xs.0`, `xs.1`, … */
function operandsOf(
  info: OpInfo,
  sample: Sample,
): { name: string; operand: SampleTensor }[] {
  const bound = info.bind(...sample as never[]);
  const fixed = info.inputs.length - 1;
  const last = info.inputs[fixed] ?? "";
  return bound.inputs.flatMap((x, i) => {
    const operand = x as unknown;
    if (!isSample(operand)) return [];
    const name = last.startsWith("...") && i >= fixed
      ? `${last.slice(3)}.${i - fixed}`
      : info.inputs[i];
    return [{ name, operand }];
  });
}

function numbers(t: Tensor): Float64Array {
  return Float64Array.from(t.data() as ArrayLike<number>, Number);
}

/** Sum of the float outputs, each element times its golden weight. */
function weighted(outputs: Tensor[]): Tensor | undefined {
  let total: Tensor | undefined;
  outputs.forEach((output, index) => {
    if (!output.requiresGrad || output.size === 0) return;
    const host = hostArray("f64", output.size) as Float64Array;
    for (let i = 0; i < output.size; i++) host[i] = goldenWeight(i, index);
    const device = output.device.name;
    const weights = fromHost(host, "f64", output.shape, { device });
    const part = sum(
      mul(output, output.dtype === "f64" ? weights : castLike(weights, output)),
    );
    total = total === undefined ? part : add(total, part);
  });
  return total;
}

function castLike(weights: Tensor, like: Tensor): Tensor {
  return (weights as Tensor & { cast(d: DType): Tensor }).cast(like.dtype);
}

function assertClose(
  actual: Float64Array,
  expected: Float64Array,
  bound: number,
  what: string,
): void {
  assertEquals(actual.length, expected.length, `${what}: number of elements`);
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i], e = expected[i];
    if (Object.is(a, e) || a === e) continue;
    const near = Math.abs(a - e) <= bound * (1 + Math.abs(e));
    assert(near, `${what}: element ${i} is ${a}, expected ${e}`);
  }
}

function assertTensor(
  actual: Tensor,
  expected: EncodedTensor,
  slack: number,
  what: string,
): void {
  assertEquals([...actual.shape], [...expected.shape], `${what}: shape`);
  assertEquals(actual.dtype, expected.dtype, `${what}: dtype`);
  assertClose(
    numbers(actual),
    decodeTensor(expected),
    slack * tolerance[actual.dtype],
    what,
  );
}

/** Runs `body` with the device's fast paths switched off, so that composed definitions run. */
function withoutKernels(body: () => void): void {
  const device = defaultDevice() as { kernels: DeviceKernels };
  const { kernels } = device;
  device.kernels = {};
  try {
    body();
  } finally {
    device.kernels = kernels;
  }
}

/** Forward and gradients in one layout and float type against PyTorch's. */
function compare(
  info: OpInfo,
  sample: Sample,
  layout: Layout,
  float: DType | undefined,
  golden: GoldenResult,
  what: string,
): void {
  scope(() => {
    const made = new Map<SampleTensor, Tensor>();
    const outputs = call(info, sample, (s) => {
      const tensor = make(s, layout, float);
      made.set(s, tensor);
      return tensor;
    });
    assertEquals(
      outputs.length,
      golden.outputs.length,
      `${what}: number of results`,
    );
    outputs.forEach((output, i) =>
      assertTensor(output, golden.outputs[i], 1, `${what}, result ${i}`)
    );
    if (golden.gradients === undefined || !info.differentiable) return;
    const operands = operandsOf(info, sample).filter(({ operand }) =>
      operand.grad && isFloat(operand.dtype)
    );
    const total = weighted(outputs);
    if (total === undefined) return;
    const found = gradients(
      total,
      operands.map(({ operand }) => made.get(operand)!),
    );
    operands.forEach(({ name, operand }, i) => {
      const expected = golden.gradients![name];
      if (expected === undefined) return;
      const grad = found[i];
      if (grad === undefined) {
        assert(
          decodeTensor(expected).every((v) => v === 0),
          `${what}: no gradient of ${name}`,
        );
        return;
      }
      assertEquals(
        [...grad.shape],
        [...operand.shape],
        `${what}: shape of the gradient of ${name}`,
      );
      assertTensor(grad, expected, 4, `${what}, gradient of ${name}`);
    });
  });
}

/** In f64: first and second derivatives against central differences along one direction. */
function checkDifferences(info: OpInfo, sample: Sample, what: string): void {
  const operands = operandsOf(info, sample).map(({ operand }) => operand)
    .filter((s) => s.grad && isFloat(s.dtype) && sizeOf(s.shape) > 0);
  if (operands.length === 0) return;
  const direction = (i: number, k: number) => Math.sin(1 + 3 * i + 7 * k);
  // The weighted sum, and the weighted sum of its gradients, at the sample moved by `step`.
  const at = (
    step: number,
    order: 1 | 2,
  ): { value: number; slope: number } | undefined =>
    scope(() => {
      const made = new Map<SampleTensor, Tensor>();
      const outputs = call(info, sample, (s) => {
        const known = made.get(s);
        if (known !== undefined) return known;
        const index = operands.indexOf(s);
        const data = index < 0
          ? elementsOf(s)
          : elementsOf(s).map((v, k) => v + step * direction(index, k));
        const tensor = make(s, "plain", "f64", data);
        made.set(s, tensor);
        return tensor;
      });
      // Results in a narrower type move in steps: no differences there.
      if (
        outputs.some((o) => o.requiresGrad && o.dtype !== "f64")
      ) return undefined;
      let total = weighted(outputs);
      if (total === undefined) return undefined;
      const leaves = operands.map((s) => made.get(s)!);
      if (order === 2) {
        const first = gradients(total, leaves, { createGraph: true });
        total = weighted(first.filter((g) => g !== undefined));
        if (total === undefined) return undefined; // linear: the gradient depends on nothing
      }
      const value = total.item();
      const slopes = gradients(total, leaves);
      let slope = 0;
      slopes.forEach((g, index) => {
        if (g !== undefined) {
          numbers(g).forEach((v, k) => slope += v * direction(index, k));
        }
      });
      return { value, slope };
    });
  for (const order of [1, 2] as const) {
    const here = at(0, order);
    if (here === undefined || !Number.isFinite(here.value)) return;
    const h = 1e-6;
    const numeric = (at(h, order)!.value - at(-h, order)!.value) / (2 * h);
    const bound = 2e-5 * (1 + Math.abs(numeric) + Math.abs(here.value));
    assert(
      Math.abs(numeric - here.slope) <= bound,
      `${what}: derivative of order ${order} along a direction is ${here.slope}, finite differences give ${numeric}`,
    );
  }
}

const families = new Map<string, ReturnType<typeof readGolden>>();

function golden(family: string): ReturnType<typeof readGolden> {
  let found = families.get(family);
  if (found === undefined) families.set(family, found = readGolden(family));
  return found;
}

/** How an operator is checked. */
export interface CheckOptions {
  /** Whether golden values must exist; they must for every operator of the library. */
  golden: boolean;
}

/**
 * Runs every check on an operator; throws on the first that fails. On a device
 * other than the CPU, what does not depend on the device is left out: the
 * derivatives of formulas, and what is fused with what.
 */
export function checkOperator(info: OpInfo, options: CheckOptions): void {
  assert(info.samples.length > 0, `operator ${info.name} has no samples`);
  const before = memory();
  const onCpu = defaultDevice().name === "cpu";
  const layouts: readonly Layout[] = onCpu
    ? ["plain", "strided", "pending"]
    : ["plain", "strided"];
  info.samples.forEach((sample, i) => {
    const what = `${info.name}, sample ${i}`;
    if (options.golden && info.torch !== undefined) {
      const { key } = encodeSample(info, sample);
      const row = golden(info.family).get(info.name)?.get(key);
      assert(
        row !== undefined,
        `${what}: no golden value; run "deno task golden"`,
      );
      const images = operandsOf(info, sample).some(({ operand }) =>
        mayLieLast(operand)
      );
      const all = images ? [...layouts, "channels last" as const] : layouts;
      for (const layout of all) {
        compare(
          info,
          sample,
          layout,
          undefined,
          row.own,
          `${what}, ${layout}`,
        );
      }
      withoutKernels(() =>
        compare(
          info,
          sample,
          "composed",
          undefined,
          row.own,
          `${what}, composed`,
        )
      );
      if (row.f64 !== undefined) {
        compare(info, sample, "plain", "f64", row.f64, `${what}, f64`);
      }
    }
    // Operators of which PyTorch has none are checked in no other way.
    if (info.differentiable && (onCpu || info.torch === undefined)) {
      checkDifferences(info, sample, what);
    }
  });
  const after = memory();
  assertEquals(after.tensors, before.tensors, `${info.name}: live tensors`);
  for (const [name, { liveBytes }] of Object.entries(after.devices)) {
    assertEquals(
      liveBytes,
      before.devices[name]?.liveBytes ?? 0,
      `${info.name}: live bytes on ${name}`,
    );
  }
}
