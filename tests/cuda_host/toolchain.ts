/**
 * g++, and files that are made whole or not at all.
 *
 * @module
 */

/** Files whose loops compute, or whose calls are timed. */
const busy =
  /^(blocks|cublaslt.*|cudnn_(interpreter|.*loops.*)|faults|fibers|launch|nccl_(reduce|run))\.cc$/;

/** Flags for a source. */
export function flagsOf(source: string): string[] {
  return [...flags, busy.test(source) ? "-O2" : "-O1"];
}

const flags = [
  "-std=c++17",
  "-g0",
  "-fPIC",
  "-pthread",
  "-Wall",
  "-Wextra",
  "-Wno-missing-field-initializers",
];

/** The g++ that builds stand-ins and kernels. */
export const compiler: string = Deno.env.get("DECAF_CUDA_HOST_CXX") ?? "g++";

const here = new URL("./", import.meta.url);

/** Path of a file of this folder. */
export function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, here).pathname);
}

/** Building failed; the message holds what g++ said. */
export class BuildError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "BuildError";
}

async function run(args: string[]): Promise<{ code: number; text: string }> {
  const command = new Deno.Command(compiler, { args });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Version of the compiler; undefined when there is none. */
export async function compilerVersion(): Promise<string | undefined> {
  try {
    const { code, text } = await run(["-dumpfullversion", "-dumpmachine"]);
    return code === 0 ? text.trim() : undefined;
  } catch {
    return undefined;
  }
}

/** Hash of some words, in hexadecimal. */
export async function hashOf(words: readonly string[]): Promise<string> {
  const bytes = new TextEncoder().encode(words.join("\n"));
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).subarray(0, 10).toHex();
}

/** Whether there is such a file. */
export function present(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Runs jobs, as many at once as there are cores. */
export async function atOnce(jobs: (() => Promise<void>)[]): Promise<void> {
  const queue = [...jobs];
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) await job();
  };
  const cores = Math.max(1, navigator.hardwareConcurrency);
  await Promise.all(Array.from({ length: cores }, worker));
}

/** Makes a file under a name of its own, then renames it: it is there whole or not at all. */
export async function whole(
  path: string,
  make: (temporary: string) => Promise<void> | void,
): Promise<void> {
  const folder = path.slice(0, path.lastIndexOf("/"));
  Deno.mkdirSync(folder, { recursive: true });
  const temporary = `${path}.${Deno.pid}.${crypto.randomUUID().slice(0, 8)}`;
  try {
    await make(temporary);
    Deno.renameSync(temporary, path);
  } catch (error) {
    if (present(temporary)) Deno.removeSync(temporary);
    throw error;
  }
}

/** Compiles one source of this folder. */
export async function compile(
  source: string,
  object: string,
  includes: string[],
): Promise<void> {
  const { code, text } = await run([
    ...flagsOf(source),
    ...includes,
    "-c",
    pathOf(source),
    "-o",
    object,
  ]);
  if (code !== 0) throw new BuildError(`g++ refuses ${source}:\n${text}`);
  if (text.trim() !== "") console.error(text.trimEnd());
}

/** Links objects to a shared library. */
export async function link(
  target: string,
  objects: readonly string[],
  soname: string,
  more: string[],
): Promise<void> {
  const { code, text } = await run([
    "-shared",
    "-pthread",
    "-o",
    target,
    `-Wl,-soname,${soname}`,
    "-Wl,-z,defs",
    // Its threads outlive whoever opened it.
    "-Wl,-z,nodelete",
    ...objects,
    ...more,
  ]);
  if (code !== 0) throw new BuildError(`g++ cannot link ${soname}:\n${text}`);
}
