/**
 * `doctor`: checks that Decaf can work here, and says what it found.
 *
 * @module
 */

import { hasRelaxedSimd } from "../kernel/wasm/assembler.ts";
import {
  type Settings,
  settle,
  switchSetting,
  textSetting,
} from "../train/settings.ts";
import type { Command } from "./command.ts";
import { exitCodes, UsageError } from "./failure.ts";
import { fromFlags, readFlags, settingsHelp } from "./flags.ts";
import { invocation } from "./invocation.ts";
import type { CudaReport } from "./doctor_cuda.ts";
import { cudaWords } from "./doctor_words.ts";
import { bold, definitions } from "./terminal.ts";
import { version } from "./version.ts";

const settings = {
  device: textSetting("NAME", "the device that has to work; cpu by default"),
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
  /** 10⁹ operations per second in a matrix product. */
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
  readonly cuda: CudaReport;
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
  usage: "[--device NAME] [--json]",
  async run(args) {
    const flags = readFlags(args, settings);
    if (flags.help) {
      console.log(`${bold("doctor")}: ${command.summary}

${invocation()} doctor ${command.usage}

The exit code is 0 when the device that --device names computes correctly, the
CPU when it names none.

${settingsHelp({ Flags: settings })}`);
      return exitCodes.done;
    }
    if (flags.rest.length > 0) {
      throw new UsageError(`doctor does not take "${flags.rest[0]}"`);
    }
    const { json, device } = settle(settings, [fromFlags(flags)]);
    const report = await examine(device || "cpu");
    console.log(json ? JSON.stringify(report, null, 2) : words(report));
    return report.ok ? exitCodes.done : exitCodes.failed;
  },
};

async function examine(name: string): Promise<Report> {
  await import("../devices/cpu/device.ts");
  await import("../devices/cuda/device.ts");
  const { examineCuda } = await import("./doctor_cuda.ts");
  const { deviceNames } = await import("../core/device.ts");
  const device = await examineDevice(name);
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
    cuda: await examineCuda(),
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

/** Has the device compute what is known. */
async function examineDevice(asked: string): Promise<DeviceReport> {
  try {
    const { getDevice } = await import("../core/device.ts");
    const { testDevice } = await import("./doctor_tests.ts");
    const { name } = getDevice(asked);
    const { works, results, gflops } = testDevice(name);
    const problem = Object.values(results).find((said) =>
      said !== "right" && !said.startsWith("not tested")
    );
    const found = { name, works, ...(works ? { gflops } : { problem }) };
    if (name !== "cpu") return found;
    const { sharedMemory } = await import("../devices/cpu/memory.ts");
    const { threads } = await import("../devices/cpu/pool.ts");
    return { ...found, threads: threads(), sharedMemory };
  } catch (error) {
    return { name: asked, works: false, problem: (error as Error).message };
  }
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
        ? `works; ${
          device.threads === undefined
            ? ""
            : `${device.threads} threads, shared memory ${
              yes(device.sharedMemory === true)
            }, `
        }${device.gflops} GFLOP/s in a matrix product`
        : `does not work: ${device.problem}`,
    ],
  ];
  const verdict = report.ok
    ? "All is well."
    : `The device ${device.name} does not work here.`;
  return `${definitions(rows, 0)}\n\n${cudaWords(report.cuda)}\n\n${
    bold(verdict)
  }`;
}
