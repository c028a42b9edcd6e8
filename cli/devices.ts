/**
 * `--devices`: which devices a training runs on.
 *
 * @module
 */

import { SettingError } from "../train/settings.ts";

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
