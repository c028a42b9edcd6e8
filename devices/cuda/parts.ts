/**
 * The parts of the device that compute.
 *
 * @module
 */

import type { DeviceKernels } from "../../core/device.ts";
import { attentionKernels } from "./attention.ts";
import type { CudaContext } from "./context.ts";
export { launch, launchAll } from "./launch.ts";
export { matmul } from "./matmul.ts";
export { scan } from "./scan.ts";
export { scatter } from "./scatter.ts";
export { sort } from "./sort.ts";
import {
  conv,
  convActivated,
  convInputGrad,
  convWeightGrad,
} from "./dnn/convolution.ts";
import { normKernels } from "./dnn/normalization.ts";
import { maxima, meanPool, meanPoolGrad } from "./dnn/pooling.ts";
import { recurrentKernels } from "./dnn/rnn.ts";
import {
  activatedProduct,
  activatedProductGrad,
  productWithSums,
} from "./matmul_activation.ts";
import { scaledProduct } from "./matmul_fp8.ts";

/** The fast paths of a device. */
export function cudaKernels(context: CudaContext): DeviceKernels {
  return {
    channelsLast: true,
    maxima: (spec, x, y) => maxima(context, spec, x, y),
    meanPool: (spec, pad, x, y) => meanPool(context, spec, pad, x, y),
    meanPoolGrad: (spec, pad, dy, dx) =>
      meanPoolGrad(context, spec, pad, dy, dx),
    normalization: normKernels(context),
    recurrent: recurrentKernels(context),
    attention: attentionKernels(context),
    conv: (spec, x, w, bias, y) => conv(context, spec, x, w, bias, y),
    convActivated: (spec, f, x, w, bias, y) =>
      convActivated(context, spec, f, x, w, bias, y),
    convInputGrad: (spec, dy, w, dx) => convInputGrad(context, spec, dy, w, dx),
    convWeightGrad: (spec, x, dy, dw) =>
      convWeightGrad(context, spec, x, dy, dw),
    activatedProduct: (spec) => activatedProduct(context, spec),
    activatedProductGrad: (spec) => activatedProductGrad(context, spec),
    productWithSums: (spec) => productWithSums(context, spec),
    scaledProduct: (spec) => scaledProduct(context, spec),
  };
}
