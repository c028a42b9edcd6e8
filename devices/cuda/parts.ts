/**
 * The parts of the device that compute.
 *
 * @module
 */

import type {
  DeviceKernels,
  ScanSpec,
  ScatterSpec,
  SortSpec,
} from "../../core/device.ts";
import type { CudaContext } from "./context.ts";
export { launch } from "./launch.ts";
export { matmul } from "./matmul.ts";
import { conv, convInputGrad, convWeightGrad } from "./dnn/convolution.ts";
import {
  activatedProduct,
  activatedProductGrad,
  productWithSums,
} from "./matmul_activation.ts";

function missing(context: CudaContext, what: string): never {
  throw new TypeError(`Cannot ${what} on ${context.name} yet`);
}

/** Queues a scatter along an axis. */
export function scatter(context: CudaContext, _spec: ScatterSpec): void {
  missing(context, "scatter");
}

/** Queues a sort of rows. */
export function sort(context: CudaContext, _spec: SortSpec): void {
  missing(context, "sort");
}

/** Queues a scan of rows. */
export function scan(context: CudaContext, _spec: ScanSpec): void {
  missing(context, "scan");
}

/** The fast paths of a device. */
export function cudaKernels(context: CudaContext): DeviceKernels {
  return {
    channelsLast: true,
    conv: (spec, x, w, bias, y) => conv(context, spec, x, w, bias, y),
    convInputGrad: (spec, dy, w, dx) => convInputGrad(context, spec, dy, w, dx),
    convWeightGrad: (spec, x, dy, dw) =>
      convWeightGrad(context, spec, x, dy, dw),
    activatedProduct: (spec) => activatedProduct(context, spec),
    activatedProductGrad: (spec) => activatedProductGrad(context, spec),
    productWithSums: (spec) => productWithSums(context, spec),
  };
}
