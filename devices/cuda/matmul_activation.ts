/**
 * Products that end with an activation or with its gradient, by cuBLASLt's
 * epilogues. In its columns, a bias is a vector over the rows of D, and the
 * gradient of a bias the sum of the columns of B or over the columns of D.
 *
 * @module
 */

import type {
  ActivatedProduct,
  ActivatedProductGrad,
  ProductActivation,
  ProductWithSums,
} from "../../core/device.ts";
import { Epilogue } from "../../ffi/cublaslt.ts";
import { addressOf, type CudaContext } from "./context.ts";
import { product } from "./matmul.ts";

/** f alone, with a second matrix for the gradient, the gradient, and each with a vector. */
const epilogues = {
  relu: {
    plain: [Epilogue.RELU, Epilogue.RELU_BIAS],
    kept: [Epilogue.RELU_AUX, Epilogue.RELU_AUX_BIAS],
    grad: [Epilogue.DRELU, Epilogue.DRELU_BGRAD],
  },
  geluTanh: {
    plain: [Epilogue.GELU, Epilogue.GELU_BIAS],
    kept: [Epilogue.GELU_AUX, Epilogue.GELU_AUX_BIAS],
    grad: [Epilogue.DGELU, Epilogue.DGELU_BGRAD],
  },
} as const satisfies Record<
  ProductActivation,
  Record<string, readonly [alone: number, withVector: number]>
>;

/** Leading dimension of what is kept: bits for relu, elements for gelu. */
function keptLd(activation: ProductActivation, n: number): number {
  const multiple = activation === "relu" ? 128 : 8;
  return Math.ceil(n / multiple) * multiple;
}

/** Whether the library's activations take the product at all. */
function takes({ dtype, m, n, k, batchShape }: ActivatedProduct): boolean {
  return dtype !== "f64" && batchShape.length === 0 && m * n * k > 0;
}

/** c = f(a·b + bias); false when cuBLASLt has nothing for it. */
export function activatedProduct(
  context: CudaContext,
  spec: ActivatedProduct,
): boolean {
  if (!takes(spec)) return false;
  const { activation, bias, kept, dtype, n } = spec;
  const [alone, withBias] = epilogues[activation][kept ? "kept" : "plain"];
  context.activate();
  return product(context, spec, {
    epilogue: bias === undefined ? alone : withBias,
    bias,
    aux: kept && addressOf(kept, activation === "relu" ? "u8" : dtype),
    auxLd: kept && keptLd(activation, n),
  });
}

/** c = f′(kept) · (a·b), and the sums of c's columns; false when cuBLASLt has nothing for it. */
export function activatedProductGrad(
  context: CudaContext,
  spec: ActivatedProductGrad,
): boolean {
  if (!takes(spec)) return false;
  const { activation, kept, sums, dtype, n } = spec;
  const [alone, withSums] = epilogues[activation].grad;
  context.activate();
  return product(context, spec, {
    epilogue: sums === undefined ? alone : withSums,
    bias: sums,
    aux: addressOf(kept, activation === "relu" ? "u8" : dtype),
    auxLd: keptLd(activation, n),
  });
}

/** c = a·b, and the sums of a's rows; false when cuBLASLt has nothing for it. */
export function productWithSums(
  context: CudaContext,
  spec: ProductWithSums,
): boolean {
  const { dtype, m, n, k, batchShape, sums } = spec;
  if (dtype === "f64" || batchShape.length > 0 || m * n * k === 0) return false;
  context.activate();
  return product(context, spec, { epilogue: Epilogue.BGRADB, bias: sums });
}
