/** Deno's assertions as npm has them, with the types that package lacks. */
// @ts-types="./assert.d.ts"
export * from "npm:deno-std@1.4.0/assert/mod.js";
