/**
 * Kills trainings at random moments and resumes them, to compare what is left
 * with what an unbroken one leaves: weights, optimizer, logs.
 */

import { assert, assertEquals } from "@std/assert";
import { decodeSafetensors } from "../formats/safetensors.ts";
import { readMetrics } from "../train/run_log.ts";
import { decaf, decafCommand } from "./cli_helpers.ts";

async function linesIn(path: string): Promise<number> {
  try {
    return (await Deno.readTextFile(path)).split("\n").length - 1;
  } catch {
    return -1;
  }
}

/**
 * Runs a command until its log has so many lines (or, below 0, until there is
 * a config), waits a little, and kills it; says whether it was still running.
 */
async function killAt(
  args: readonly string[],
  folder: string,
  lines: number,
  wait: number,
): Promise<boolean> {
  const child = decafCommand(args).spawn();
  const said = child.output();
  let ended = false;
  const end = said.then(() => {
    ended = true;
  });
  const reached = async () =>
    lines < 0
      ? await Deno.stat(`${folder}/config.json`).then(() => true, () => false)
      : await linesIn(`${folder}/metrics.jsonl`) >= lines;
  while (!ended && !await reached()) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await new Promise((resolve) => setTimeout(resolve, wait));
  const running = !ended;
  if (running) child.kill("SIGKILL");
  await end;
  const { code, stderr } = await said;
  // What ended by itself ended well.
  assert(running || code === 0, new TextDecoder().decode(stderr));
  return running;
}

/** Tensors of a safetensors file as text, and the metadata without the clock. */
export async function contentOf(path: string): Promise<Record<string, string>> {
  const { tensors, metadata } = decodeSafetensors(await Deno.readFile(path));
  const entries = [...tensors].map(([name, { data, shape, dtype }]) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return [name, `${dtype} ${shape} ${bytes.toHex()}`];
  });
  return { ...metadata, ...Object.fromEntries(entries) };
}

async function logOf(folder: string): Promise<unknown[]> {
  return (await readMetrics(folder)).map(({ time: _, ...line }) => line);
}

/** Trains unbroken, and again with kills; compares all that was left. */
export async function compare(
  folder: string,
  args: readonly string[],
  kills: number,
): Promise<void> {
  const common = ["--log-every", "1", "--checkpoint-every", "3", "--no-curve"];
  const whole = `${folder}/whole`, broken = `${folder}/broken`;
  const unbroken = await decaf([...args, ...common, "--run", whole]);
  assertEquals(unbroken.code, 0, unbroken.stderr);
  const total = (await logOf(whole)).length;

  const seed = crypto.getRandomValues(new Uint32Array(kills));
  const moments = Array.from(seed, (s) => s / 2 ** 32).sort();
  const said = `killed at ${moments.map((m) => m.toFixed(3))}`;
  let killed = 0;
  for (const [i, moment] of moments.entries()) {
    const command = i === 0
      ? [...args, ...common, "--run", broken]
      : ["resume", broken];
    // The first one before any checkpoint, the others anywhere after it.
    const lines = i === 0 ? -1 : Math.floor(moment * total);
    if (await killAt(command, broken, lines, Math.floor(moment * 37))) killed++;
  }
  assert(killed >= 2, `${said}: only ${killed} were still running`);
  const last = await decaf(["resume", broken]);
  assertEquals(last.code, 0, `${said}: ${last.stderr}`);

  for (const file of ["model.safetensors", "checkpoint.safetensors"]) {
    const [wanted, found] = [
      await contentOf(`${whole}/${file}`),
      await contentOf(`${broken}/${file}`),
    ];
    assertEquals(Object.keys(found), Object.keys(wanted), said);
    for (const [name, content] of Object.entries(wanted)) {
      assert(found[name] === content, `${said}: ${file} differs in ${name}`);
    }
  }
  assertEquals(await logOf(broken), await logOf(whole), said);
  const left = [...Deno.readDirSync(broken)].filter((e) =>
    e.name.endsWith(".tmp")
  );
  assertEquals(left, [], said);
}
