/** Row programs on the CPU against the meaning of their expressions. */

import "../devices/cpu/device.ts";
import { getDevice } from "../core/device.ts";
import "./render_cases.ts";
import { renderTests } from "./render_harness.ts";
import "./render_program_cases.ts";

const device = getDevice("cpu");

for (const { name, run } of renderTests) {
  Deno.test(`render: ${name}`, () => run(device));
}
