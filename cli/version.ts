/**
 * Which Decaf this is.
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };

/** Version of Decaf. */
export const version: string = config.version;
