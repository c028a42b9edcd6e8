/**
 * Plans for a graph: which engines the library's heuristics propose, which of
 * them are allowed, and which finalize.
 *
 * @module
 */

import { CudaError } from "../../../ffi/errors.ts";
import type { Cudnn } from "../../../ffi/cudnn.ts";
import {
  AttributeName as A,
  AttributeType as T,
  DescriptorType as D,
  HeuristicsMode,
  NumericalNote,
} from "../../../ffi/cudnn_enums.ts";
import type { Graph } from "./graph.ts";
import { Descriptors, type Target } from "./lower.ts";
import { Plan } from "./plan.ts";

/** Which plans are wanted. */
export interface PlanLimits {
  /** Whether engines may round f32 operands (to TF32, say). */
  readonly rounded: boolean;
  /** Largest scratch memory, in bytes. */
  readonly workspace: number;
  /** Most plans. */
  readonly count: number;
}

/** Why there is no plan. */
export interface Refusal {
  /** In the library's words. */
  readonly reason: string;
}

/** Heuristics in the order in which they are asked. */
const modes = [HeuristicsMode.A, HeuristicsMode.B, HeuristicsMode.FALLBACK];

/** Most engine configurations that are looked at for one kind of heuristics. */
const mostConfigurations = 64;

/** Plans for a graph, best first by the heuristics; or why there is none. */
export function findPlans(
  cudnn: Cudnn,
  graph: Graph,
  target: Target,
  limits: PlanLimits,
): Plan[] | Refusal {
  using shared = new Descriptors(cudnn);
  const plans: Plan[] = [];
  let reason = "no engine takes the graph";
  let rounding = 0;
  try {
    const native = shared.graph(graph, target);
    for (const mode of modes) {
      for (const config of configurations(shared, native, target, mode)) {
        if (!limits.rounded && rounds(shared, config)) {
          rounding++;
          continue;
        }
        const plan = planOf(shared, config, target, graph, limits.workspace);
        if (plan instanceof Plan) plans.push(plan);
        else reason = plan.reason;
        if (plans.length === limits.count) return plans;
      }
      // Other heuristics would name the same engines again.
      if (plans.length > 0) return plans;
    }
  } catch (error) {
    if (!(error instanceof CudaError)) throw error;
    reason = error.message;
  }
  if (rounding > 0) {
    reason += `; ${rounding} engines are left out because they round f32`;
  }
  return { reason };
}

/** Engine configurations that one kind of heuristics proposes; none when it does not answer. */
function configurations(
  own: Descriptors,
  graph: bigint,
  target: Target,
  mode: number,
): bigint[] {
  const heuristics = own.create(D.ENGINEHEUR_DESCRIPTOR);
  own.refer(heuristics, A.ENGINEHEUR_OPERATION_GRAPH, graph);
  own.choose(heuristics, A.ENGINEHEUR_MODE, T.HEUR_MODE, mode);
  if ("properties" in target) {
    own.refer(heuristics, A.ENGINEHEUR_DEVICEPROP, target.properties);
  }
  const results = A.ENGINEHEUR_RESULTS;
  try {
    own.finalize(heuristics, D.ENGINEHEUR_DESCRIPTOR);
    const type = T.BACKEND_DESCRIPTOR;
    const none = new BigUint64Array();
    const found = own.get(heuristics, results, type, 0, none);
    const configs = BigUint64Array.from(
      { length: Math.min(found, mostConfigurations) },
      () => own.create(D.ENGINECFG_DESCRIPTOR),
    );
    const filled = own.get(heuristics, results, type, configs.length, configs);
    return [...configs.subarray(0, filled)];
  } catch (error) {
    if (error instanceof CudaError) return [];
    throw error;
  }
}

const notes = new Int32Array(32);

/** Whether an engine rounds its operands. */
function rounds(own: Descriptors, config: bigint): boolean {
  const engine = BigUint64Array.of(own.create(D.ENGINE_DESCRIPTOR));
  own.get(config, A.ENGINECFG_ENGINE, T.BACKEND_DESCRIPTOR, 1, engine);
  const found = own.get(
    engine[0],
    A.ENGINE_NUMERICAL_NOTE,
    T.NUMERICAL_NOTE,
    notes.length,
    notes,
  );
  return notes.subarray(0, Math.min(found, notes.length)).some((note) =>
    note === NumericalNote.TENSOR_CORE ||
    note === NumericalNote.DOWN_CONVERT_INPUTS
  );
}

/** The plan of an engine configuration, if it is within the limit. */
function planOf(
  shared: Descriptors,
  config: bigint,
  target: Target,
  graph: Graph,
  workspace: number,
): Plan | Refusal {
  const own = new Descriptors(shared.cudnn);
  let reason: string;
  try {
    // A plan refers to the configuration that it was made of.
    own.adopt(config, shared);
    const plan = own.create(D.EXECUTION_PLAN_DESCRIPTOR);
    own.refer(plan, A.EXECUTION_PLAN_ENGINE_CONFIG, config);
    if ("handle" in target) {
      own.refer(plan, A.EXECUTION_PLAN_HANDLE, target.handle, T.HANDLE);
    } else {
      own.refer(plan, A.EXECUTION_PLAN_DEVICEPROP, target.properties);
    }
    own.finalize(plan, D.EXECUTION_PLAN_DESCRIPTOR);
    const made = new Plan(own, plan, graph);
    if (made.workspace <= workspace) return made;
    reason =
      `a plan needs ${made.workspace} bytes of scratch memory, of ${workspace} that are allowed`;
  } catch (error) {
    if (!(error instanceof CudaError)) throw error;
    reason = error.message;
  }
  own.dispose();
  return { reason };
}
