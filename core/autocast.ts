/**
 * Mixed precision: products and convolutions in a type of 16 bits, sums,
 * exponentials and losses in f32, chosen operator by operator as a call passes
 * the one door. Parameters stay in f32, and so do their gradients.
 *
 * @module
 */

import { arithmeticOperators, gradEnabled } from "./autograd.ts";
import { type CastState, castState, withCastState } from "./cast_state.ts";
import { type DType, promote } from "./dtype.ts";
import { intercept } from "./op.ts";
import { Tensor } from "./tensor.ts";

/** Types that {@linkcode autocast} takes; f32 switches it off inside. */
export type AutocastType = "f32" | "bf16" | "f16";

/** What happens to the floats among an operator's operands; f64 always stays. */
export type AutocastRule = "low" | "f32" | "widest";

const low = [
  ...["matmul", "batchMatmul", "linear", "einsum", "prelu"],
  ...["linearActivation", "feedForward"],
  ...["conv", "convActivation", "convTranspose"],
  ...["convInputGrad", "convWeightGrad"],
  ...["scaledDotProductAttention", "flashAttention"],
  ...["recurrentLayer", "recurrentNetwork", "lstm", "gru", "rnn"],
];

const f32 = [
  ...["acos", "asin", "cosh", "sinh", "tan", "erfinv", "exp", "expm1"],
  ...["log", "log10", "log1p", "log2", "pow", "reciprocal", "rsqrt"],
  ...["cumProd", "cumSum", "logSumExp", "norm", "prod", "sum"],
  ...["softmax", "softmin", "logSoftmax", "softplus", "interpolate"],
  ...["layerNorm", "rmsNorm", "groupNorm"],
  ...["mseLoss", "l1Loss", "smoothL1Loss", "huberLoss", "squaredL2Distance"],
  ...["binaryCrossEntropy", "binaryCrossEntropyWithLogits", "softMarginLoss"],
  ...["hingeEmbeddingLoss", "nllLoss", "crossEntropy", "klDiv"],
  ...["poissonNllLoss", "gaussianNllLoss", "cosineSimilarity"],
  ...["cosineEmbeddingLoss", "marginRankingLoss", "tripletMarginLoss"],
  ...["multiMarginLoss", "ctcLoss"],
];

const widest = [
  ...["concat", "stack", "addcdiv", "addcmul", "atan2", "bilinear", "dot"],
  ...["gridSample", "scatter", "scatterAdd", "scatterReduce"],
  ...["indexAdd", "indexCopy", "padSequence", "localResponseNorm"],
];

/**
 * The operators that autocast changes, as PyTorch's lists for CUDA have them:
 * `low` run in the 16-bit type, `f32` need single precision, `widest` bring
 * their operands to one type. All others take what they get.
 */
export const autocastRules: ReadonlyMap<string, AutocastRule> = new Map([
  ...low.map((name) => [name, "low"] as const),
  ...f32.map((name) => [name, "f32"] as const),
  ...widest.map((name) => [name, "widest"] as const),
]);

let open = 0;
let uninstall: (() => void) | undefined;

type Operands = readonly (Tensor | number | undefined)[];

function isNarrow(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16" || dtype === "bf16";
}

function targetOf(
  rule: AutocastRule,
  given: Operands,
  state: CastState,
): DType {
  if (rule === "low") return state.dtype;
  if (rule === "f32") return "f32";
  let found: DType | undefined;
  for (const x of given) {
    if (!(x instanceof Tensor) || !isNarrow(x.dtype)) continue;
    found = found === undefined ? x.dtype : promote(found, x.dtype);
  }
  return found ?? "f32";
}

/** The tensor in the type; of a parameter, what was made of it before in this step. */
function inType(x: Tensor, dtype: DType, { casts }: CastState): Tensor {
  const { cast } = arithmeticOperators();
  const isParameter = x.requiresGrad && x.node === undefined;
  if (!isParameter || !gradEnabled() || dtype === "f32") return cast(x, dtype);
  const { value } = x;
  const before = casts.get(x);
  if (before !== undefined) {
    const { made } = before;
    const holds = before.value === value && before.writes === value.writes;
    if (holds && !made.disposed && !made.node?.released) return made;
    made.dispose();
  }
  const made = cast(x, dtype);
  casts.set(x, { made, value, writes: value.writes });
  return made;
}

function install(): void {
  open++;
  uninstall ??= intercept((name, given, _attrs, next) => {
    const state = castState();
    const rule = state && autocastRules.get(name);
    if (state === undefined || rule === undefined) return next(given);
    const dtype = targetOf(rule, given, state);
    // What an operator is made of takes what it gets.
    return withCastState(
      undefined,
      () =>
        next(
          given.map((x) =>
            x instanceof Tensor && isNarrow(x.dtype) && x.dtype !== dtype
              ? inType(x, dtype, state)
              : x
          ),
        ),
    );
  });
}

function release(state: CastState | undefined): void {
  for (const { made } of state?.casts.values() ?? []) made.dispose();
  if (--open > 0) return;
  uninstall?.();
  uninstall = undefined;
}

/**
 * Runs a body in mixed precision: products, convolutions and recurrent layers
 * compute in `dtype`, what needs it in f32, by PyTorch's lists
 * ({@linkcode autocastRules}). Run the forward pass and the loss in it; the
 * backward pass takes the same types by itself, and gradients of f32
 * parameters arrive in f32. A parameter is converted once in each call, and
 * again when it was updated.
 *
 * @param dtype `bf16`, or `f16` (scale the loss then, see `train.GradScaler`); `f32` switches autocast off inside.
 * @param body What runs; not asynchronous.
 * @throws {RangeError} for another type.
 * @throws {TypeError} when the body returns a promise.
 *
 * @example
 * ```ts
 * import { autocast, nn, ones } from "@decaf/decaf";
 *
 * const model = nn.linear(4, 2);
 * const y = autocast("bf16", () => model.forward(ones([3, 4])));
 * if (y.dtype !== "bf16") throw new Error("products are in bf16");
 * y.sum().backward();
 * if (model.weight.grad!.dtype !== "f32") throw new Error("gradients are in f32");
 * ```
 */
export function autocast<T>(dtype: AutocastType, body: () => T): T {
  if (dtype !== "f32" && dtype !== "bf16" && dtype !== "f16") {
    throw new RangeError(
      `Cannot compute in mixed precision with ${dtype}: there is bf16, f16, and f32 to switch it off`,
    );
  }
  const state = dtype === "f32" ? undefined : { dtype, casts: new Map() };
  install();
  try {
    return synchronous(withCastState(state, body));
  } finally {
    release(state);
  }
}

/** Refuses a promise: autocast ends when the body returns, which would be at its first `await`. */
function synchronous<T>(result: T): T {
  if (!(result instanceof Promise)) return result;
  // Only the mistake itself is told, not what else may become of the body.
  result.catch(() => {});
  throw new TypeError(
    "Cannot run an asynchronous body in mixed precision: all after its first await would be computed without; await outside, and give autocast a body that returns what it computed",
  );
}
