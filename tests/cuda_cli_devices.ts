/** The command line on a machine with several stand-in devices: `cuda_cli_devices.ts COUNT COMMAND…`. */

import { main } from "../cli/main.ts";
import { cudaHost } from "./cuda_host/mod.ts";

const [count, ...args] = Deno.args;
const host = await cudaHost();
if (host.absent !== undefined) throw new Error(host.absent);
host.devices(Number(count));
const code = await main(args);
const wrong = host.violations();
for (const line of wrong) console.error(line);
Deno.exit(wrong.length > 0 ? 99 : code);
