/**
 * Tensors, devices, scopes and differentiation.
 *
 * @module
 */

export * from "./errors.ts";
export {
  type DType,
  type DTypeInfo,
  type DTypeKind,
  dtypes,
  type HostArray,
  promote,
  resultType,
} from "./dtype.ts";
export type { Shape } from "./shape.ts";
export {
  chooseDevice,
  closeDevice,
  defaultDevice,
  type Device,
  type DeviceChoice,
  type DeviceGraph,
  deviceNames,
  getDevice,
  setDefaultDevice,
  type TimelineEntry,
} from "./device.ts";
export { CapturedGraph, captureGraph } from "./capture.ts";
export { Scope, scope } from "./scope.ts";
export { keep, memory, type MemoryReport } from "./memory.ts";
export { explain } from "./explain.ts";
export {
  type Edge,
  fromHost,
  type GradientHook,
  type NestedNumbers,
  type Node,
  Tensor,
  TensorHandle,
  type TensorOptions,
} from "./tensor.ts";
export { operators, type OpInfo } from "./op.ts";
export {
  type CustomContext,
  type CustomFunction,
  customFunction,
  recompute,
} from "./custom.ts";
export { Profile, type ProfileEvent } from "./profile.ts";
export { Profiler } from "./profiler.ts";
export {
  autocast,
  type AutocastRule,
  autocastRules,
  type AutocastType,
} from "./autocast.ts";
export { assign } from "./update.ts";
