/**
 * Builds the stand-in libraries with g++, into a cache folder, when their
 * sources have changed. Several processes may do so at once: each works in a
 * folder of its own and renames it when it is whole.
 *
 * @module
 */

import { findHeaders } from "./headers.ts";

/** A stand-in: what is built, from which sources, and who asks for it. */
export interface Library {
  /** File name of the real library. */
  readonly file: string;
  /** Environment variable through which Decaf finds it. */
  readonly variable: string;
  /** Its sources are the files of this folder whose names begin so. */
  readonly prefix: string;
}

/** The stand-ins; one that has no sources is left out. */
export const libraries: readonly Library[] = [
  { file: "libcudart.so.13", variable: "DECAF_LIBCUDART", prefix: "cudart_" },
  { file: "libcuda.so.1", variable: "DECAF_LIBCUDA", prefix: "cuda_" },
  { file: "libnvrtc.so.13", variable: "DECAF_LIBNVRTC", prefix: "nvrtc" },
  {
    file: "libcublasLt.so.13",
    variable: "DECAF_LIBCUBLASLT",
    prefix: "cublaslt",
  },
  { file: "libcudnn.so.9", variable: "DECAF_LIBCUDNN", prefix: "cudnn_" },
  { file: "libnccl.so.2", variable: "DECAF_LIBNCCL", prefix: "nccl" },
];

/** The machine that all of them share. */
const core = [
  "control.cc",
  "copies.cc",
  "faults.cc",
  "floats.cc",
  "graphs.cc",
  "memory.cc",
  "modules.cc",
  "simt.cc",
  "streams.cc",
];

/** Files that kernels are compiled against. */
const kernelHeaders = ["simt.h", "simt_math.h", "simt_state.h"];

const flags = [
  "-std=c++17",
  "-O2",
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

function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, here).pathname);
}

/** Folder of all that is built. */
function cacheRoot(): string {
  const own = Deno.env.get("DECAF_CUDA_HOST_CACHE");
  if (own) return own;
  const shared = Deno.env.get("XDG_CACHE_HOME");
  const home = Deno.env.get("HOME");
  if (shared) return `${shared}/decaf/cuda_host`;
  return home ? `${home}/.cache/decaf/cuda_host` : "/tmp/decaf_cuda_host";
}

/** Building failed; the message holds what g++ said. */
export class BuildError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "BuildError";
}

async function run(
  args: string[],
  cwd?: string,
): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(compiler, {
    args,
    ...cwd === undefined ? {} : { cwd },
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Version of the compiler; undefined when there is none. */
async function compilerVersion(): Promise<string | undefined> {
  try {
    const { code, text } = await run(["-dumpfullversion", "-dumpmachine"]);
    return code === 0 ? text.trim() : undefined;
  } catch {
    return undefined;
  }
}

async function fingerprint(
  words: readonly string[],
  names: readonly string[],
): Promise<string> {
  const parts: BlobPart[] = [words.join("\n")];
  for (const name of names) {
    parts.push(`\n${name}\n`, Deno.readFileSync(pathOf(name)));
  }
  const bytes = await new Blob(parts).arrayBuffer();
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).subarray(0, 10).toHex();
}

function present(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Sources whose names begin so. */
function sourcesOf(prefix: string): string[] {
  return [...Deno.readDirSync(pathOf("."))].map(({ name }) => name)
    .filter((name) => name.startsWith(prefix) && name.endsWith(".cc")).sort();
}

/** Names of the files in a folder below this one that end in `.h`. */
function headerNames(folder = ""): string[] {
  const names: string[] = [];
  for (const { name, isDirectory } of Deno.readDirSync(pathOf(folder || "."))) {
    const path = `${folder}${name}`;
    if (isDirectory) names.push(...headerNames(`${path}/`));
    else if (name.endsWith(".h")) names.push(path);
  }
  return names.sort();
}

/** Runs jobs, as many at once as there are cores. */
async function atOnce(jobs: (() => Promise<void>)[]): Promise<void> {
  const queue = [...jobs];
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) await job();
  };
  const cores = Math.max(1, navigator.hardwareConcurrency);
  await Promise.all(Array.from({ length: cores }, worker));
}

/** A folder that is filled under a name of its own and then renamed. */
class Growing {
  readonly folder: string;

  constructor(readonly final: string) {
    this.folder = `${final}.${Deno.pid}.${crypto.randomUUID().slice(0, 8)}`;
    Deno.mkdirSync(this.folder, { recursive: true });
  }

  done(): void {
    try {
      Deno.renameSync(this.folder, this.final);
    } catch (error) {
      this.drop();
      // Somebody else was faster.
      if (!present(this.final)) throw error;
    }
  }

  drop(): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

async function compile(
  source: string,
  object: string,
  includes: string[],
): Promise<void> {
  const { code, text } = await run([
    ...flags,
    ...includes,
    "-c",
    pathOf(source),
    "-o",
    object,
  ]);
  if (code !== 0) throw new BuildError(`g++ refuses ${source}:\n${text}`);
  if (text.trim() !== "") console.error(text.trimEnd());
}

async function link(
  target: string,
  objects: string[],
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

/** What was built. */
export interface Built {
  /** The library of the machine itself. */
  readonly core: string;
  /** Each stand-in with its path. */
  readonly libraries: readonly (Library & { readonly path: string })[];
  /** Whether NVIDIA's own headers were used. */
  readonly headers: string | undefined;
}

/**
 * Builds what is missing.
 *
 * @returns The files, or why there are none.
 */
export async function build(): Promise<Built | { absent: string }> {
  if (Deno.build.os !== "linux") {
    return { absent: "the stand-in libraries are built on Linux only" };
  }
  const version = await compilerVersion();
  if (version === undefined) return { absent: `${compiler} was not found` };
  try {
    return await buildAll(version);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    return { absent: error.message };
  }
}

async function buildAll(version: string): Promise<Built> {
  const nvidia = await findHeaders();
  const includes = [
    ...nvidia.folders.map((folder) => `-I${folder}`),
    `-idirafter`,
    pathOf("include_crt"),
    `-idirafter`,
    pathOf("include"),
    ...nvidia.folders.length > 0 ? [] : ["-DDECAF_OWN_HEADERS"],
  ];
  const headers = headerNames();
  const root = cacheRoot();
  const coreHeaders = headers.filter((name) => !name.includes("/"));
  const coreKey = await fingerprint([version, ...flags], [
    ...core,
    ...coreHeaders,
  ]);
  const home = `${root}/${coreKey}`;
  const coreFile = `${home}/libdecafhost.so`;
  const wanted = [];
  for (const library of libraries) {
    const sources = sourcesOf(library.prefix);
    if (sources.length === 0) continue;
    const key = await fingerprint([version, ...flags, ...includes], [
      ...sources,
      ...headers,
    ]);
    const folder = `${root}/${library.file}-${coreKey}-${key}`;
    wanted.push({
      ...library,
      sources,
      folder,
      path: `${folder}/${library.file}`,
    });
  }

  const growing: { at: Growing; finish: () => Promise<void> }[] = [];
  const jobs: (() => Promise<void>)[] = [];
  const plan = (
    final: string,
    sources: readonly string[],
    finish: (at: Growing, objects: string[]) => Promise<void>,
  ) => {
    const at = new Growing(final);
    const objects = sources.map((source) =>
      `${at.folder}/${source.replace(/\.cc$/, ".o")}`
    );
    sources.forEach((source, i) =>
      jobs.push(() => compile(source, objects[i], includes))
    );
    growing.push({
      at,
      finish: async () => {
        await finish(at, objects);
        for (const object of objects) Deno.removeSync(object);
        at.done();
      },
    });
  };
  if (!present(home)) {
    plan(home, core, async (at, objects) => {
      for (const name of kernelHeaders) {
        Deno.copyFileSync(pathOf(name), `${at.folder}/${name}`);
      }
      const target = `${at.folder}/libdecafhost.so`;
      await link(target, objects, "libdecafhost.so", []);
    });
  }
  for (const library of wanted) {
    if (present(library.folder)) continue;
    plan(library.folder, library.sources, async (at, objects) => {
      await link(`${at.folder}/${library.file}`, objects, library.file, [
        coreFile,
        `-Wl,-rpath,$ORIGIN/../${coreKey}`,
      ]);
    });
  }
  try {
    await atOnce(jobs);
    for (const { finish } of growing) await finish();
  } catch (error) {
    for (const { at } of growing) if (present(at.folder)) at.drop();
    throw error;
  }
  return { core: coreFile, libraries: wanted, headers: nvidia.from };
}

if (import.meta.main) {
  const started = performance.now();
  const built = await build();
  if ("absent" in built) {
    console.error(built.absent);
    Deno.exit(1);
  }
  console.log(
    `${built.core} and ${built.libraries.length} libraries, with ${
      built.headers ?? "Decaf's own declarations"
    }, in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
}
