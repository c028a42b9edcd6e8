/** Deno's flag parser as npm has it, with the types that package lacks. */
// @ts-types="./cli.d.ts"
export * from "npm:deno-std@1.4.0/cli/parse_args.js";
