/**
 * cuDNN on one device: its handle, and the plans that were found.
 *
 * @module
 */

import type { DType } from "../../../core/dtype.ts";
import { OutOfMemoryError } from "../../../core/errors.ts";
import { checkCudnn, type Cudnn, cudnnLibrary } from "../../../ffi/cudnn.ts";
import { LibraryError, tryLibrary } from "../../../ffi/library.ts";
import { CudaError } from "../../../ffi/errors.ts";
import type { CudaContext } from "../context.ts";
import { PlanCache, planOwner } from "../plan_cache.ts";
import { mayTime, timeCalls } from "../timing.ts";
import type { Graph } from "./graph.ts";
import { type Plan, readPlan } from "./plan.ts";
import { PlanTable } from "./plan_table.ts";
import { findPlans } from "./search.ts";

/** An address of nothing. */
export const noAddress = 0n;

const none: readonly number[] = [];

/** A number of bytes, rounded up so that what follows starts at a multiple of 256. */
function aligned(bytes: number): number {
  return Math.ceil(bytes / 256) * 256;
}

/** Largest scratch memory of a plan, in bytes. */
const workspaceLimit = 2 ** 30;

/** Called with each graph that plans are wanted for, when something wants to watch. */
export const observer: { wanted?: (graph: Graph) => void } = {};

/** Most plans that are timed for one problem. */
const contestants = 8;

/** Milliseconds from which on a search is remembered on disk. */
const worthKeeping = 20;

/** What is known of a problem; no plan where the library has none. */
interface Entry {
  plan: Plan | undefined;
}

/** Where a plan comes from, so that another can be found. */
interface Origin {
  readonly entry: Entry;
  readonly graph: Graph;
  readonly rounded: boolean;
}

/** Plans for one problem that are to be timed against each other. */
interface Contest {
  readonly entry: Entry;
  readonly rivals: readonly Plan[];
  readonly problem: string;
}

/** The library on one device. */
export class Dnn {
  /** The library. */
  readonly cudnn: Cudnn;
  /** Its handle, which queues on the device's stream. */
  readonly handle: bigint;
  readonly #context: CudaContext;
  readonly #plans = new PlanTable<Entry>();
  /** Plans that are first by the heuristics, and not timed yet. */
  readonly #untimed = new Map<Plan, Contest>();
  readonly #disk: PlanCache;
  readonly #origins = new Map<Plan, Origin>();
  /** Plans that others took the place of, while their work may be under way. */
  readonly #retired: Plan[] = [];

  /** Makes a handle that queues on the device's stream. */
  constructor(context: CudaContext, cudnn: Cudnn) {
    this.#context = context;
    this.cudnn = cudnn;
    this.#disk = new PlanCache(
      planOwner("cudnn", cudnn.versionText, context),
    );
    context.activate();
    const { symbols } = cudnn;
    const made = new BigUint64Array(1);
    checkCudnn(cudnn, "cudnnCreate", symbols.cudnnCreate(made));
    const handle = this.handle = made[0];
    context.onClose(() => this.#close());
    const status = symbols.cudnnSetStream(handle, context.stream);
    checkCudnn(cudnn, "cudnnSetStream", status);
  }

  #close(): void {
    for (const { rivals } of this.#untimed.values()) {
      for (const rival of rivals) rival.dispose();
    }
    for (const plan of this.#retired) plan.dispose();
    for (const { plan } of this.#plans.values()) plan?.dispose();
    this.cudnn.symbols.cudnnDestroy(this.handle);
  }

  /**
   * The plan for a problem, found at the first call.
   *
   * @param key Numbers that tell the problem from all others; not kept.
   * @param dtype Element type of the operands.
   * @param build Makes the graph; undefined where the library cannot express it.
   * @param repeatable Whether running it again gives the same, so that plans may be timed.
   * @returns The plan; undefined where the library has none.
   */
  plan(
    key: number[],
    dtype: DType,
    build: () => Graph | undefined,
    repeatable = true,
  ): Plan | undefined {
    const rounded = dtype !== "f32" || this.#context.options.tf32;
    key.push(rounded ? 1 : 0);
    const known = this.#plans.get(key);
    if (known !== undefined) return known.plan;
    const graph = build();
    if (graph === undefined) {
      this.#plans.add(key, { plan: undefined });
      return undefined;
    }
    const entry = this.#find(graph, rounded, key.join(" "), repeatable);
    this.#plans.add(key, entry);
    const { plan } = entry;
    if (plan !== undefined) this.#origins.set(plan, { entry, graph, rounded });
    return plan;
  }

  #find(
    graph: Graph,
    rounded: boolean,
    problem: string,
    repeatable: boolean,
  ): Entry {
    observer.wanted?.(graph);
    const context = this.#context;
    context.activate();
    const search = context.options.benchmark && repeatable && mayTime();
    const kept = this.#kept(graph, problem, search);
    if (kept !== undefined) return { plan: kept };
    const start = performance.now();
    const found = findPlans(
      this.cudnn,
      graph,
      { handle: this.handle },
      { rounded, workspace: workspaceLimit, count: search ? contestants : 1 },
    );
    if (!Array.isArray(found)) return { plan: undefined };
    const [plan, ...rivals] = found;
    const entry = { plan };
    if (search) this.#untimed.set(plan, { entry, rivals, problem });
    else if (performance.now() - start > worthKeeping) {
      this.#keep(`chosen ${problem}`, plan);
    }
    return entry;
  }

  /** The plan that an earlier process kept for a problem; only a timed one where a search is wanted. */
  #kept(graph: Graph, problem: string, search: boolean): Plan | undefined {
    const bytes = this.#disk.get(`timed ${problem}`) ??
      (search ? undefined : this.#disk.get(`chosen ${problem}`));
    if (bytes === undefined) return undefined;
    const text = new TextDecoder().decode(bytes);
    return readPlan(this.cudnn, this.handle, graph, text);
  }

  #keep(name: string, plan: Plan): void {
    const text = plan.text();
    if (text !== undefined) {
      this.#disk.set(name, new TextEncoder().encode(text));
    }
  }

  /** Runs a plan and its rivals on the operands at hand; the fastest stays. */
  #time(plan: Plan, run: (plan: Plan) => void): Plan {
    const { entry, rivals, problem } = this.#untimed.get(plan)!;
    this.#untimed.delete(plan);
    const all = [plan, ...rivals];
    const times = timeCalls(
      this.#context,
      all.map((each) => () => {
        try {
          run(each);
          return true;
        } catch (error) {
          if (error instanceof CudaError) return false; // it is out of the race
          throw error;
        }
      }),
    );
    const best = all[times.indexOf(Math.min(...times))];
    const origin = this.#origins.get(plan)!;
    this.#origins.delete(plan);
    this.#origins.set(best, origin);
    entry.plan = best;
    for (const each of all) if (each !== best) each.dispose();
    this.#keep(`timed ${problem}`, best);
    return best;
  }

  /**
   * Queues a plan.
   *
   * @param plan The plan.
   * @param addresses Addresses in the order in which its graph declared the tensors.
   * @param what Name of the call, for the profiler.
   * @param scratch Bytes of tensors that the graph declared last and whose values nobody needs afterwards.
   */
  run(
    plan: Plan,
    addresses: readonly bigint[],
    what: string,
    scratch: readonly number[] = none,
  ): void {
    this.#context.activate();
    if (this.#untimed.size > 0 && this.#untimed.has(plan) && mayTime()) {
      plan = this.#time(plan, (p) => this.#queue(p, addresses, what, scratch));
    }
    try {
      this.#queue(plan, addresses, what, scratch);
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error;
      const smaller = this.#smaller(plan);
      if (smaller === undefined) throw error;
      this.run(smaller, addresses, what, scratch);
    }
  }

  /** A plan in the place of one for whose scratch memory there is no room; undefined where there is none with less. */
  #smaller(plan: Plan): Plan | undefined {
    const origin = this.#origins.get(plan);
    if (origin === undefined || plan.workspace === 0) return undefined;
    const { entry, graph, rounded } = origin;
    const found = findPlans(
      this.cudnn,
      graph,
      { handle: this.handle },
      { rounded, workspace: Math.floor(plan.workspace / 4), count: 1 },
    );
    if (!Array.isArray(found)) return undefined;
    const [smaller] = found;
    this.#origins.delete(plan);
    this.#origins.set(smaller, origin);
    this.#retired.push(plan);
    entry.plan = smaller;
    return smaller;
  }

  #queue(
    plan: Plan,
    addresses: readonly bigint[],
    what: string,
    scratch: readonly number[],
  ): void {
    const context = this.#context;
    let bytes = scratch.reduce((sum, n) => sum + aligned(n), 0);
    const own = bytes;
    bytes += plan.workspace;
    let address = bytes > 0 ? context.workspace(bytes) : noAddress;
    const call = { context, handle: this.handle, what };
    if (own === 0) return plan.run(call, addresses, address);
    const all = [...addresses];
    for (const n of scratch) {
      all.push(address);
      address += BigInt(aligned(n));
    }
    plan.run(call, all, plan.workspace > 0 ? address : noAddress);
  }
}

const opened = new WeakMap<CudaContext, { dnn: Dnn | undefined }>();

/** cuDNN on a device, opened at the first call; undefined where there is none, which is said once. */
export function dnnOf(context: CudaContext): Dnn | undefined {
  let known = opened.get(context);
  if (known === undefined) {
    const library = tryLibrary(cudnnLibrary);
    if (library instanceof LibraryError) {
      warn(
        `${library.message}. Until then convolutions run as Decaf's own kernels, which are slower`,
      );
      known = { dnn: undefined };
    } else known = { dnn: new Dnn(context, library) };
    opened.set(context, known);
  }
  return known.dnn;
}

let warned = false;

function warn(sentence: string): void {
  if (!warned) console.warn(sentence);
  warned = true;
}

/** The largest power of two, 16 at most, that divides addresses which were joined by "or". */
export function alignmentOf(addresses: bigint): number {
  const low = Number(addresses & 15n);
  return low === 0 ? 16 : low & -low;
}
