/**
 * `--device` and `--devices`: where a command computes.
 *
 * @module
 */

import {
  chooseDevice,
  defaultDevice,
  isDeviceName,
  setDefaultDevice,
  unknownDevice,
} from "../core/device.ts";
import { SettingError, type TextSetting } from "../train/settings.ts";

/** The setting of commands that compute. */
export const deviceSetting: TextSetting = {
  kind: "text",
  default: "",
  placeholder: "NAME",
  help: "where to compute: cpu by default; cuda, cuda:1, or auto",
};

/**
 * Names of devices from a list such as `0,1` or `cuda:0,cuda:1`; none for an
 * empty text.
 *
 * @throws {SettingError} for a list with gaps.
 */
export function deviceList(text: string): string[] {
  if (text.trim() === "") return [];
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) {
    throw new SettingError(
      `Cannot set --devices to "${text}": it is a list of devices with commas between them, such as 0,1 or cuda:0,cuda:1`,
    );
  }
  return names.map((name) => /^\d+$/.test(name) ? `cuda:${name}` : name);
}

/** What the flags say; empty texts where they were not given. */
export interface DeviceFlags {
  /** One device by name. */
  readonly device: string;
  /** Several devices as a list. */
  readonly devices?: string;
}

/**
 * Makes the device, or the first of several, the default one. The code for
 * GPUs is loaded only when one is asked for.
 *
 * @returns The names of several devices; none when there is one.
 * @throws {SettingError} when both flags are given, or a name that is none of a device.
 * @throws {Error} saying what is missing when a device cannot be used.
 */
export async function useDevices(flags: DeviceFlags): Promise<string[]> {
  const several = deviceList(flags.devices ?? "");
  if (several.length > 0 && flags.device !== "") {
    throw new SettingError(
      `Cannot set both --device ${flags.device} and --devices ${flags.devices}: give one of them`,
    );
  }
  const first = several[0] ?? (flags.device || "cpu");
  if (first !== "cpu" || several.some((name) => name !== "cpu")) {
    await import("../devices/cuda/device.ts");
  }
  for (const name of several.length > 0 ? several : [first]) {
    if (!isDeviceName(name)) throw new SettingError(unknownDevice(name));
  }
  if (first === "auto") sayChoice();
  setDefaultDevice(first);
  return several;
}

/**
 * Whether steps are captured as a graph. Where there are no graphs, a new
 * training is refused; one that goes on elsewhere than before runs plainly,
 * and says so.
 *
 * @param flags What else was asked for.
 * @param devices Several devices; none when it is the default one.
 * @param resumed Whether the training goes on.
 * @throws {SettingError} saying what stands in the way.
 */
export function useGraph(
  flags: { readonly graph: boolean; readonly precision: string },
  devices: readonly string[],
  resumed: boolean,
): boolean {
  const obstacle = flags.graph ? graphObstacle(flags, devices) : undefined;
  if (obstacle === undefined) return flags.graph;
  const { setting, why, instead } = obstacle;
  if (!resumed) {
    throw new SettingError(`Cannot set ${setting}: ${why}; ${instead}`);
  }
  console.log(`Steps run without the graph of before: ${why}`);
  return false;
}

/** What stands in the way of a graph, and what would work. */
function graphObstacle(
  { precision }: { readonly precision: string },
  devices: readonly string[],
) {
  const { name, capture } = defaultDevice();
  if (devices.length > 1) {
    return {
      setting: `both --graph and --devices ${devices.join()}`,
      why: "a graph belongs to one device",
      instead: "give one of them",
    };
  }
  if (capture === undefined) {
    return {
      setting: `--graph on ${name}`,
      why: "only CUDA devices have graphs",
      instead: "set --device cuda, or leave --graph out",
    };
  }
  if (precision === "f16") {
    return {
      setting: "--graph with --precision f16",
      why: "whether a step is taken depends on its gradients",
      instead: "set --precision bf16",
    };
  }
  return undefined;
}

function sayChoice(): void {
  const { name, reason } = chooseDevice();
  console.log(`Computing on ${name}: ${reason}`);
}
