/** Makes a call with Decaf and lists where its answer is not PyTorch's. */

import { gradients, scope, Tensor } from "../../mod.ts";
import { type DType, isFloat } from "../../core/dtype.ts";
import type { OpInfo, Sample, SampleTensor } from "../../core/op.ts";
import {
  argumentsOf,
  decodeTensor,
  type EncodedTensor,
  type GoldenResult,
  goldenWeight,
} from "../../tests/golden/samples.ts";

/** What PyTorch answers: results, or the first line of its error. */
export type Answer = GoldenResult & { error?: string };

/** One element that differs. */
export interface ElementDifference {
  /** The place: `result 0`, or `gradient of x`. */
  readonly place: string;
  readonly dtype: DType;
  readonly index: number;
  readonly ours: number;
  readonly theirs: number;
}

/** What differs in one call: elements, or the call as a whole. */
export type Difference =
  | { readonly kind: "elements"; readonly elements: ElementDifference[] }
  /** A dtype or a shape: sentences such as `dtype f32`. */
  | {
    readonly kind: "form";
    readonly place: string;
    readonly ours: string;
    readonly theirs: string;
  }
  /** Only one side takes the call; the other's sentence. */
  | { readonly kind: "refusedHere"; readonly message: string }
  | { readonly kind: "refusedThere"; readonly message: string }
  /** What must never be: an error that is no sentence of Decaf's. */
  | { readonly kind: "fault"; readonly message: string };

/** What is compared beside results. */
export interface CompareOptions {
  readonly gradients: boolean;
  readonly refusals: boolean;
  readonly zeros: boolean;
}

/** How far apart equal answers may be, relative to max(1/100, |value|). */
export const tolerance: Readonly<Record<DType, number>> = {
  f32: 1e-4,
  f64: 1e-10,
  f16: 4e-3,
  bf16: 3e-2,
  i64: 0,
  i32: 0,
  i8: 0,
  u8: 0,
  bool: 0,
};

/** Whether two elements of a dtype are the same answer. */
export function same(
  dtype: DType,
  x: number,
  y: number,
  zeros = false,
): boolean {
  if (Object.is(x, y) || (x === 0 && y === 0 && !zeros)) return true;
  if (x === 0 && y === 0) return false;
  return Number.isFinite(x) && Number.isFinite(y) &&
    Math.abs(x - y) <= tolerance[dtype] * Math.max(1e-2, Math.abs(y));
}

function differences(
  place: string,
  ours: Tensor,
  theirs: EncodedTensor,
  zeros: boolean,
): Difference | undefined {
  if (`${ours.shape}` !== `${theirs.shape}`) {
    const [a, b] = [ours, theirs].map(({ shape }) => `shape [${shape}]`);
    return { kind: "form", place, ours: a, theirs: b };
  }
  if (ours.dtype !== theirs.dtype) {
    const [a, b] = [ours, theirs].map(({ dtype }) => `dtype ${dtype}`);
    return { kind: "form", place, ours: a, theirs: b };
  }
  const { dtype } = ours;
  const a = Float64Array.from(ours.data() as ArrayLike<number>, Number);
  const b = decodeTensor(theirs);
  const elements = Array.from(
    a,
    (x, index) => ({ place, dtype, index, ours: x, theirs: b[index] }),
  ).filter((e) => !same(dtype, e.ours, e.theirs, zeros));
  return elements.length === 0 ? undefined : { kind: "elements", elements };
}

/** Makes the call and compares it with PyTorch's answer. */
export function compare(
  info: OpInfo,
  sample: Sample,
  answer: Answer,
  options: CompareOptions,
): Difference | undefined {
  return scope(() => {
    const made = new Map<Tensor, SampleTensor>();
    let outputs: Tensor[];
    try {
      const args = argumentsOf(sample, made);
      for (const [tensor, s] of made) {
        tensor.requiresGrad = s.grad && isFloat(s.dtype);
      }
      const result = info.call(...args);
      outputs = (Array.isArray(result) ? result : [result]).filter((y) =>
        y instanceof Tensor
      );
      outputs.forEach((y) => y.data());
    } catch (error) {
      const { message } = error as Error;
      if (!message.startsWith("Cannot ")) {
        return { kind: "fault", message: `${error}` };
      }
      return answer.error === undefined && options.refusals
        ? { kind: "refusedHere", message }
        : undefined;
    }
    if (answer.error !== undefined) {
      return options.refusals
        ? { kind: "refusedThere", message: answer.error }
        : undefined;
    }
    const elements: ElementDifference[] = [];
    const pairs: [string, Tensor, EncodedTensor][] = outputs.map((y, i) => [
      `result ${i}`,
      y,
      answer.outputs[i],
    ]);
    if (options.gradients && answer.gradients !== undefined) {
      try {
        pairs.push(...gradientPairs(outputs, made, answer.gradients));
      } catch (error) {
        return { kind: "fault", message: `gradients: ${error}` };
      }
    }
    for (const [place, ours, theirs] of pairs) {
      const found = differences(place, ours, theirs, options.zeros);
      if (found?.kind === "elements") elements.push(...found.elements);
      else if (found !== undefined) return found;
    }
    return elements.length === 0 ? undefined : { kind: "elements", elements };
  });
}

function gradientPairs(
  outputs: readonly Tensor[],
  made: ReadonlyMap<Tensor, SampleTensor>,
  theirs: Readonly<Record<string, EncodedTensor>>,
): [string, Tensor, EncodedTensor][] {
  const leaves = [...made.keys()].filter((x) => x.requiresGrad);
  const names = Object.keys(theirs);
  if (leaves.length !== names.length) return [];
  const ours = gradientsOf(outputs, leaves);
  return names.flatMap((name, i) =>
    ours?.[i] === undefined
      ? []
      : [[`gradient of ${name}`, ours[i], theirs[name]]]
  );
}

function gradientsOf(
  outputs: readonly Tensor[],
  leaves: readonly Tensor[],
): (Tensor | undefined)[] | undefined {
  type Methods = Tensor & {
    mul(x: Tensor): Methods;
    add(x: Tensor): Methods;
    sum(): Methods;
    cast(d: DType): Methods;
  };
  let total: Methods | undefined;
  outputs.forEach((output, index) => {
    if (!output.requiresGrad || output.size === 0) return;
    const [weights] = argumentsOf([{
      sample: true,
      shape: output.shape,
      dtype: "f64",
      data: Array.from(
        { length: output.size },
        (_, k) => goldenWeight(k, index),
      ),
      grad: false,
    }]) as Methods[];
    const part = (output as Methods).mul(weights.cast(output.dtype)).sum();
    total = total === undefined ? part : total.add(part);
  });
  return total === undefined ? undefined : gradients(total, [...leaves]);
}
