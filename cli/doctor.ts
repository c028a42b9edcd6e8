/**
 * `doctor`: checks that Decaf can work here, and says what it found.
 *
 * @module
 */

import { hasRelaxedSimd } from "../kernel/wasm/assembler.ts";
import { type Settings, settle, switchSetting } from "../train/settings.ts";
import type { Command } from "./command.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import { bold, definitions } from "./terminal.ts";
import { version } from "./version.ts";

const settings = {
  json: switchSetting("prints JSON"),
} satisfies Settings;

/** What the default device can do. */
interface DeviceReport {
  readonly name: string;
  readonly works: boolean;
  /** Why it does not. */
  readonly problem?: string;
  /** Threads that kernels run on. */
  readonly threads?: number;
  /** Whether workers share the memory. */
  readonly sharedMemory?: boolean;
  /** 10⁹ operations per second in a matrix product of 512³. */
  readonly gflops?: number;
}

/** Everything that the doctor looked at. */
interface Report {
  readonly ok: boolean;
  readonly decaf: string;
  readonly deno: string;
  readonly v8: string;
  readonly system: string;
  readonly cores: number;
  readonly simd: boolean;
  readonly relaxedSimd: boolean;
  readonly permissions: Readonly<Record<string, string>>;
  readonly devices: readonly string[];
  readonly device: DeviceReport;
}

/** A module with one SIMD instruction: (i8x16.splat (i32.const 0)). */
const simdModule = Uint8Array.fromHex(
  "0061736d010000000105016000017b030201000a080106004100fd0f0b",
);

const permissionNames = [
  "read",
  "write",
  "net",
  "env",
  "run",
  "ffi",
  "sys",
  "import",
] as const;

/** The `doctor` command. */
export const command: Command = {
  summary: "check that Decaf can work here",
  usage: "[--json]",
  async run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("doctor")}: ${command.summary}

${invocation()} doctor ${command.usage}

The exit code is 0 when the default device computes correctly.

${settingsHelp({ Flags: settings })}`);
      return exitCodes.done;
    }
    if (flags.rest.length > 0) {
      throw new UsageError(`doctor does not take "${flags.rest[0]}"`);
    }
    const { json } = settle(settings, [fromFlags(flags)]);
    const report = await examine();
    console.log(json ? JSON.stringify(report, null, 2) : words(report));
    return report.ok ? exitCodes.done : exitCodes.failed;
  },
};

async function examine(): Promise<Report> {
  const device = await examineDevice();
  const { deviceNames } = await import("../core/device.ts");
  const { os, arch } = Deno.build;
  return {
    ok: device.works,
    decaf: version,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    system: `${os} ${arch}`,
    cores: navigator.hardwareConcurrency,
    simd: WebAssembly.validate(simdModule),
    relaxedSimd: hasRelaxedSimd(),
    permissions: permissions(),
    devices: deviceNames(),
    device,
  };
}

function permissions(): Record<string, string> {
  return Object.fromEntries(permissionNames.map((name) => {
    try {
      return [name, Deno.permissions.querySync({ name }).state];
    } catch {
      return [name, "unknown"];
    }
  }));
}

/** Multiplies two matrices whose product is known, and takes the time. */
async function examineDevice(): Promise<DeviceReport> {
  try {
    await import("../devices/cpu/device.ts");
    const { sharedMemory } = await import("../devices/cpu/memory.ts");
    const { threads } = await import("../devices/cpu/pool.ts");
    const { defaultDevice } = await import("../core/device.ts");
    const { name } = defaultDevice();
    const found = { name, threads: threads(), sharedMemory };
    const wrong = await wrongProduct();
    return wrong === undefined
      ? { ...found, works: true, gflops: await measure() }
      : { ...found, works: false, problem: wrong };
  } catch (error) {
    return { name: "cpu", works: false, problem: (error as Error).message };
  }
}

/** Exact: whole numbers, whose products and sums f32 holds. */
async function wrongProduct(): Promise<string | undefined> {
  const { fromHost } = await import("../core/tensor.ts");
  const { Scope } = await import("../core/scope.ts");
  const { add, matmul } = await import("../ops/functions.ts");
  using _scope = new Scope();
  const n = 33;
  const host = Float32Array.from({ length: n * n }, (_, i) => i % 7 - 3);
  const x = fromHost(host, "f32", [n, n]);
  const product = add(matmul(x, x), 1).data() as Float32Array;
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 1;
      for (let k = 0; k < n; k++) {
        sum += host[row * n + k] * host[k * n + column];
      }
      const got = product[row * n + column];
      if (got !== sum) {
        return `element [${row}, ${column}] of a matrix product is ${got} and should be ${sum}`;
      }
    }
  }
  return undefined;
}

/** The best of a few products, in 10⁹ operations per second. */
async function measure(): Promise<number> {
  const { fromHost } = await import("../core/tensor.ts");
  const { Scope } = await import("../core/scope.ts");
  const { matmul } = await import("../ops/functions.ts");
  const n = 512;
  let best = Infinity;
  for (let i = 0; i < 8; i++) {
    using _scope = new Scope();
    const x = fromHost(new Float32Array(n * n).fill(0.5), "f32", [n, n]);
    const from = performance.now();
    matmul(x, x).materialize();
    best = Math.min(best, performance.now() - from);
  }
  return Number((2 * n ** 3 / best / 1e6).toFixed(1));
}

function words(report: Report): string {
  const { device, permissions } = report;
  const yes = (x: boolean) => x ? "yes" : "no";
  const granted = permissionNames.filter((n) => permissions[n] === "granted");
  const rows: [string, string][] = [
    ["Decaf", report.decaf],
    ["Deno", `${report.deno} (V8 ${report.v8})`],
    ["system", `${report.system}, ${report.cores} cores`],
    [
      "WebAssembly",
      `SIMD ${yes(report.simd)}, relaxed SIMD ${yes(report.relaxedSimd)}`,
    ],
    ["permissions", granted.join(", ") || "none (computing needs none)"],
    ["devices", report.devices.join(", ")],
    [
      device.name,
      device.works
        ? `works; ${device.threads} threads, shared memory ${
          yes(device.sharedMemory === true)
        }, ${device.gflops} GFLOP/s in a matrix product`
        : `does not work: ${device.problem}`,
    ],
  ];
  const verdict = report.ok
    ? "All is well."
    : "The default device does not work here.";
  return `${definitions(rows, 0)}\n\n${bold(verdict)}`;
}
