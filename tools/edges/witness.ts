/** Asks PyTorch: in the call's own types, and again in other ways where Decaf's answer differs. */

import type { EncodedSample } from "../../tests/golden/samples.ts";
import { ROOT } from "../files.ts";
import type { Answer } from "./compare.ts";

/**
 * How PyTorch computes: `own` types; `plain`, without vector instructions and
 * oneDNN; `double`, floats in f64; `reals`, floats and integers in f64.
 */
export type Way = "own" | "plain" | "double" | "reals";

/** The ways besides `own`: what a difference is judged by. */
export const witnesses = ["plain", "double", "reals"] as const;

/** An operator's calls as PyTorch gets them. */
export interface Asked {
  readonly name: string;
  readonly torch: string;
  readonly samples: readonly EncodedSample[];
}

/** PyTorch's answers, by operator and call. */
export async function ask(
  python: string,
  operators: readonly Asked[],
  way: Way,
): Promise<Answer[][]> {
  const folder = await Deno.makeTempDir();
  const [calls, answers] = [`${folder}/calls.json`, `${folder}/answers.json`];
  try {
    await Deno.writeTextFile(calls, JSON.stringify({ operators }));
    const { code } = await new Deno.Command(python, {
      args: [`${ROOT}/tests/golden/edges.py`, calls, answers, way],
      env: way === "plain" ? { ATEN_CPU_CAPABILITY: "default" } : {},
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    if (code !== 0) {
      throw new Error(
        `${python} tests/golden/edges.py ended with code ${code}`,
      );
    }
    return JSON.parse(await Deno.readTextFile(answers));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
