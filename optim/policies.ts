/**
 * Learning-rate policies: functions from the iteration, counted from 0, to a
 * factor on the learning rate.
 *
 * @example
 * ```ts
 * import { optim } from "@decaf/decaf";
 *
 * const { policies } = optim;
 * const policy = policies.join(
 *   { policy: policies.linearWarmup({ start: 0.1, iterations: 10 }), iterations: 10 },
 *   { policy: policies.step({ stepSize: 100, gamma: 0.5 }) },
 * );
 * if (policy(0) !== 0.1 || policy(10) !== 1 || policy(110) !== 0.5) {
 *   throw new Error("wrong factors");
 * }
 * ```
 *
 * @module
 */

export type { Policy } from "./method.ts";
export * from "./policy_cycles.ts";
export * from "./policy_schedules.ts";
export {
  alter,
  type AlterOptions,
  constantThenLinearWarmup,
  constantWarmup,
  type ConstantWarmupOptions,
  exp,
  fixed,
  gate,
  type GateOptions,
  hill,
  type HillOptions,
  inv,
  type InvOptions,
  linearWarmup,
  type LinearWarmupOptions,
  pieceWarmup,
  type PieceWarmupOptions,
  poly,
  type PolyOptions,
  step,
  type StepOptions,
  type TwoWarmupsOptions,
} from "./policy_steps.ts";
