/**
 * The stand-in libraries on which Decaf's CUDA device is tested without a GPU.
 *
 * `await cudaHost()` builds them, points Decaf's library search at them and
 * gives the means to look at them and to make them fail:
 *
 * ```ts ignore
 * const host = await cudaHost();
 * Deno.test({
 *   name: host.absent ? `sums (${host.absent})` : "sums",
 *   ignore: host.absent !== undefined,
 *   fn() {
 *     if (host.absent !== undefined) return;
 *     host.fail({ function: "cudaMallocAsync", nth: 3, status: 2 });
 *     …
 *     assertEquals(host.violations(), []);
 *     assertEquals(host.leaks(), []);
 *   },
 * });
 * ```
 *
 * The machine is one per process: all tests and workers of the process share
 * it, and `cudaHost()` finds it as a process begins, with one device.
 *
 * @module
 */

import { build } from "./build.ts";
import { compiler } from "./toolchain.ts";

const symbols = {
  decafhost_calls: { parameters: ["buffer", "usize"], result: "usize" },
  decafhost_call_count: { parameters: [], result: "u64" },
  decafhost_clear_calls: { parameters: [], result: "void" },
  decafhost_fail: {
    parameters: ["buffer", "i32", "i32", "i32"],
    result: "void",
  },
  decafhost_faults_left: { parameters: [], result: "usize" },
  decafhost_clear_faults: { parameters: [], result: "void" },
  decafhost_hang: { parameters: ["buffer"], result: "void" },
  decafhost_release: { parameters: [], result: "void" },
  decafhost_limit_memory: { parameters: ["f64", "i32"], result: "void" },
  decafhost_delay: { parameters: ["u64", "i32", "i32"], result: "i32" },
  decafhost_jitter: { parameters: ["i32"], result: "void" },
  decafhost_pass: { parameters: ["f64"], result: "void" },
  decafhost_devices: { parameters: ["i32"], result: "void" },
  decafhost_instant: { parameters: ["i32"], result: "void" },
  decafhost_settle: { parameters: [], result: "void" },
  decafhost_violations: { parameters: ["buffer", "usize"], result: "usize" },
  decafhost_clear_violations: { parameters: [], result: "void" },
  decafhost_quiet: { parameters: ["i32"], result: "void" },
  decafhost_leaks: { parameters: ["buffer", "usize"], result: "usize" },
  decafhost_reset: { parameters: [], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

type Symbols = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** A fault on demand. */
export interface Fault {
  /** Function that fails; any when it is left out. */
  readonly function?: string;
  /** Which of its next calls fails: 1 is the next one. */
  readonly nth: number;
  /** What it answers, as a number of its library. */
  readonly status: number;
  /**
   * The call succeeds, and the work that it queues fails when its stream
   * reaches it: the device is lost with this status.
   */
  readonly later?: boolean;
}

const encode = (text: string) => new TextEncoder().encode(`${text}\0`);

/** The simulated machine. */
export class CudaHost {
  /** Why there is none: nothing, here is one. */
  readonly absent?: undefined;
  readonly #symbols: Symbols;
  readonly #core: string;

  /**
   * Made by {@linkcode cudaHost}.
   *
   * @param core Path of the machine's own library.
   * @param symbols The functions of the machine.
   * @param paths Path of each stand-in by its file name.
   * @param headers Where the headers of NVIDIA lie that they were compiled against; undefined when it was Decaf's own declarations.
   */
  constructor(
    core: string,
    symbols: Symbols,
    readonly paths: Readonly<Record<string, string>>,
    readonly headers: string | undefined,
  ) {
    this.#core = core;
    this.#symbols = symbols;
  }

  #lines(read: (out: Uint8Array<ArrayBuffer>, room: bigint) => bigint) {
    let room = 1 << 16;
    for (;;) {
      const out = new Uint8Array(room);
      const size = Number(read(out, BigInt(room)));
      if (size > room) {
        room = size;
        continue;
      }
      const text = new TextDecoder().decode(out.subarray(0, size));
      return text === "" ? [] : text.split("\n");
    }
  }

  /**
   * Names of the functions that were called, the latest million; those that
   * only tell names of errors or the last error are left out, so that the
   * position in this list plus one is the `nth` of `fail`.
   */
  calls(): string[] {
    return this.#lines(this.#symbols.decafhost_calls);
  }

  /** How many calls there were. */
  callCount(): number {
    return Number(this.#symbols.decafhost_call_count());
  }

  /** Forgets the calls. */
  clearCalls(): void {
    this.#symbols.decafhost_clear_calls();
  }

  /** Makes a coming call fail, once. */
  fail({ function: name = "", nth, status, later = false }: Fault): void {
    this.#symbols.decafhost_fail(encode(name), nth, status, later ? 1 : 0);
  }

  /** Faults that no call has met yet. */
  faultsLeft(): number {
    return Number(this.#symbols.decafhost_faults_left());
  }

  /** Forgets the faults that no call has met, and lets everything go on that hangs. */
  clearFaults(): void {
    this.#symbols.decafhost_clear_faults();
  }

  /**
   * The work that a function queues waits until `release`; a function that
   * itself waits for work (a synchronize) waits too, so release it from
   * another thread.
   */
  hang(name: string): void {
    this.#symbols.decafhost_hang(encode(name));
  }

  /** Lets everything go on that hangs. */
  release(): void {
    this.#symbols.decafhost_release();
  }

  /** Memory of one device, or of all; 0 is the nominal 80 GiB. */
  limitMemory(bytes: number, device = -1): void {
    this.#symbols.decafhost_limit_memory(bytes, device);
  }

  /** Every piece of work of a stream, or of all streams, starts so much later. */
  delay(stream: bigint | "all", milliseconds: number): void {
    const all = stream === "all";
    const wrong = this.#symbols.decafhost_delay(
      all ? 0n : stream,
      milliseconds,
      all ? 1 : 0,
    );
    if (wrong !== 0) throw new RangeError(`${stream} is no stream`);
  }

  /**
   * Every piece of work starts by chance up to so many microseconds later, so
   * that a missing event shows sooner; 0 ends it. DECAF_CUDA_HOST_JITTER in the
   * environment does so for a whole run.
   */
  jitter(microseconds: number): void {
    this.#symbols.decafhost_jitter(microseconds);
  }

  /** So much time passes between the events before and those after; waits for all streams. */
  pass(milliseconds: number): void {
    this.#symbols.decafhost_pass(milliseconds);
  }

  /** How many devices there are: 0 to 16. */
  devices(count: number): void {
    this.#symbols.decafhost_devices(count);
  }

  /** Waits for all streams, and looks at all guard zones. */
  settle(): void {
    this.#symbols.decafhost_settle();
  }

  /** What strict checks found, once all queued work is done. */
  violations(): string[] {
    this.settle();
    return this.#lines(this.#symbols.decafhost_violations);
  }

  /** Forgets the violations. */
  clearViolations(): void {
    this.settle();
    this.#symbols.decafhost_clear_violations();
  }

  /** Whether violations are recorded only, and not printed as they happen. */
  quiet(on: boolean): void {
    this.#symbols.decafhost_quiet(on ? 1 : 0);
  }

  /** Blocks of memory and handles that are alive. */
  leaks(): string[] {
    return this.#lines(this.#symbols.decafhost_leaks);
  }

  /**
   * The machine as it was at first: one device, no memory, no handles, no
   * faults. Whoever still holds handles finds them destroyed.
   */
  reset(): void {
    this.#symbols.decafhost_reset();
  }

  /** A native function of the given signature that does nothing: what a call costs by itself. */
  nothing(
    { parameters, result }: Deno.ForeignFunction,
  ): (...args: (number | bigint | Uint8Array<ArrayBuffer>)[]) => unknown {
    const { symbols } = Deno.dlopen(this.#core, {
      nothing: { name: "decafhost_nothing", parameters, result },
    });
    return symbols.nothing as ReturnType<CudaHost["nothing"]>;
  }

  /** Calls return at once and compute nothing, for measuring the host's time. */
  instant(on: boolean): void {
    this.#symbols.decafhost_instant(on ? 1 : 0);
  }
}

let opened: Promise<CudaHost | { readonly absent: string }> | undefined;

/**
 * Builds the stand-ins, sets the `DECAF_LIB…` variables of this process to
 * them, and puts the machine into its first state.
 *
 * @returns The machine, or why there is none.
 */
export function cudaHost(): Promise<CudaHost | { readonly absent: string }> {
  return opened ??= open();
}

async function open(): Promise<CudaHost | { readonly absent: string }> {
  // Files of one test run share their environment: it must go on to name NVIDIA's libraries.
  if (Deno.env.get("DECAF_TEST_CUDA") === "real") {
    return { absent: "on a real GPU the stand-ins are left out" };
  }
  const built = await build();
  if ("absent" in built) return built;
  const paths: Record<string, string> = {};
  for (const { file, variable, path } of built.libraries) {
    paths[file] = path;
    Deno.env.set(variable, path);
  }
  Deno.env.set("DECAF_CUDA_HOST_CXX", compiler);
  Deno.env.set("DECAF_CUDA_HOST_KERNELS", built.kernels);
  Deno.env.set("DECAF_CACHE", ownCache(`${built.kernels}/runs`));
  const { symbols: functions } = Deno.dlopen(built.core, symbols);
  functions.decafhost_reset();
  const graphs = Deno.env.get("DECAF_CUDNN_GRAPHS");
  if (graphs !== undefined) {
    const { recordGraphs } = await import("../cudnn_graphs.ts");
    recordGraphs(graphs);
  }
  return new CudaHost(built.core, functions, paths, built.headers);
}

const DAY = 86_400_000;

/**
 * A folder for Decaf's caches that this process shares with nobody but its
 * children: what another run leaves there would change which calls are made.
 * Those of earlier days are deleted.
 */
function ownCache(runs: string): string {
  const set = Deno.env.get("DECAF_CACHE");
  if (set?.startsWith(`${runs}/`)) return set;
  Deno.mkdirSync(runs, { recursive: true });
  for (const { name } of Deno.readDirSync(runs)) {
    if (Date.now() - parseInt(name) < DAY) continue;
    try {
      Deno.removeSync(`${runs}/${name}`, { recursive: true });
    } catch {
      // Another process deletes it too.
    }
  }
  return `${runs}/${Date.now()}-${Deno.pid}`;
}
