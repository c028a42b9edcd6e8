/**
 * Decaf's command line: `deno run -A cli.ts --help`, or, installed with
 * `deno install -g -A -n decaf cli.ts`, `decaf --help`.
 *
 * @module
 */

import { main } from "./cli/main.ts";

if (import.meta.main) Deno.exit(await main(Deno.args));
