/**
 * Builds the stand-in libraries with g++, into a cache folder, from what has
 * changed. Several processes may do so at once: each file is made under a name
 * of its own and renamed when it is whole.
 *
 * @module
 */

import { findHeaders } from "./headers.ts";
import {
  atOnce,
  BuildError,
  compile,
  compiler,
  compilerVersion,
  flagsOf,
  hashOf,
  link,
  pathOf,
  present,
  whole,
} from "./toolchain.ts";

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
const libraries: readonly Library[] = [
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
  "blocks.cc",
  "control.cc",
  "copies.cc",
  "faults.cc",
  "fibers.cc",
  "floats.cc",
  "graphs.cc",
  "guard.cc",
  "launch.cc",
  "memory.cc",
  "modules.cc",
  "pools.cc",
  "ranges.cc",
  "streams.cc",
];

/** Files that kernels are compiled against. */
const kernelHeaders = ["simt.h", "simt_math.h", "simt_state.h"];

/** Folder of all that is built. */
function cacheRoot(): string {
  const own = Deno.env.get("DECAF_CUDA_HOST_CACHE");
  if (own) return own;
  const shared = Deno.env.get("XDG_CACHE_HOME");
  const home = Deno.env.get("HOME");
  if (shared) return `${shared}/decaf/cuda_host`;
  return home ? `${home}/.cache/decaf/cuda_host` : "/tmp/decaf_cuda_host";
}

/** Sources whose names begin so. */
function sourcesOf(prefix: string): string[] {
  return [...Deno.readDirSync(pathOf("."))].map(({ name }) => name)
    .filter((name) => name.startsWith(prefix) && name.endsWith(".cc")).sort();
}

/** A source, and what it includes of this folder. */
function withIncludes(name: string, seen: Set<string> = new Set()): string[] {
  if (seen.has(name) || !present(pathOf(name))) return [];
  seen.add(name);
  const text = Deno.readTextFileSync(pathOf(name));
  const included = [...text.matchAll(/^#include [<"]([\w./]+)[>"]/gm)]
    .flatMap(([, file]) =>
      [file, `include/${file}`, `include_crt/${file}`]
        .flatMap((path) => withIncludes(path, seen))
    );
  return [`${name}:\n${text}`, ...included];
}

/** What was built. */
export interface Built {
  /** The library of the machine itself. */
  readonly core: string;
  /** Each stand-in with its path. */
  readonly libraries: readonly (Library & { readonly path: string })[];
  /** Folder of the kernels that the stand-in of NVRTC compiles. */
  readonly kernels: string;
  /** Where NVIDIA's own headers lie that were used; undefined when it was Decaf's declarations. */
  readonly headers: string | undefined;
}

/**
 * Builds what is missing.
 *
 * @returns The files, or why there are none.
 * @throws {BuildError} when g++ refuses the sources and `CI` is set: where changes are checked, tests that are ignored for that reason would be seen by nobody.
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
    if (!(error instanceof BuildError) || Deno.env.get("CI")) throw error;
    console.error(error.message);
    const [what, ...said] = error.message.split("\n");
    const why = said.find((line) => line.includes("error"));
    return { absent: why === undefined ? what : `${what} ${why.trim()}` };
  }
}

const DAY = 86_400_000;

/** Deletes what was built long ago, from sources that have changed since. */
function prune(root: string): void {
  for (const { name } of Deno.readDirSync(root)) {
    try {
      const { mtime } = Deno.statSync(`${root}/${name}`);
      if (mtime !== null && Date.now() - mtime.getTime() > 7 * DAY) {
        Deno.removeSync(`${root}/${name}`, { recursive: true });
      }
    } catch {
      // Another process deletes it too.
    }
  }
}

/** What a library is made of. */
interface Plan {
  readonly file: string;
  readonly objects: readonly string[];
  readonly key: string;
}

async function buildAll(version: string): Promise<Built> {
  const nvidia = await findHeaders();
  const includes = [
    ...nvidia.folders.map((folder) => `-I${folder}`),
    ...["include_crt", "include"].flatMap((name) => [
      "-idirafter",
      pathOf(name),
    ]),
    ...nvidia.folders.length > 0 ? [] : ["-DDECAF_OWN_HEADERS"],
  ];
  const root = cacheRoot();
  const jobs: (() => Promise<void>)[] = [];
  const plan = async (
    file: string,
    sources: readonly string[],
  ): Promise<Plan> => {
    const keys = await Promise.all(sources.map((source) =>
      hashOf([
        version,
        ...flagsOf(source),
        ...nvidia.folders,
        ...withIncludes(source),
      ])
    ));
    const objects = keys.map((key) => `${root}/objects/${key}.o`);
    sources.forEach((source, i) => {
      if (present(objects[i])) return;
      jobs.push(async () => {
        if (present(objects[i])) return; // another process was faster
        await whole(objects[i], (path) => compile(source, path, includes));
      });
    });
    return { file, objects, key: await hashOf(keys) };
  };

  const machine = await plan("libdecafhost.so", core);
  const kernels = kernelHeaders.map((name) =>
    Deno.readTextFileSync(pathOf(name))
  );
  const machineKey = await hashOf([machine.key, ...kernels]);
  // Compiled kernels depend on these alone, and outlive changes of the machine.
  const kernelKey = await hashOf([
    version,
    ...kernels,
    Deno.readTextFileSync(pathOf("nvrtc_build.cc")), // the flags
  ]);
  const home = `${root}/${machineKey}`;
  const coreFile = `${home}/${machine.file}`;
  const wanted = [];
  for (const library of libraries) {
    const sources = sourcesOf(library.prefix);
    if (sources.length === 0) continue;
    const parts = await plan(library.file, sources);
    const key = await hashOf([machineKey, parts.key]);
    const path = `${root}/${library.file}-${key}/${library.file}`;
    wanted.push({ ...library, path, parts });
  }
  if (jobs.length > 0 && present(root)) prune(root);
  // Processes that begin together begin with different files.
  const first = Math.floor(Math.random() * jobs.length);
  await atOnce([...jobs.slice(first), ...jobs.slice(0, first)]);
  if (!present(coreFile)) {
    for (const name of kernelHeaders) {
      await whole(
        `${home}/${name}`,
        (path) => Deno.copyFileSync(pathOf(name), path),
      );
    }
    await whole(
      coreFile,
      (path) => link(path, machine.objects, machine.file, []),
    );
  }
  await atOnce(
    wanted.filter(({ path }) => !present(path)).map(({ path, parts }) => () =>
      whole(path, (to) =>
        link(to, parts.objects, parts.file, [
          coreFile,
          `-Wl,-rpath,$ORIGIN/../${machineKey}`,
        ]))
    ),
  );
  return {
    core: coreFile,
    libraries: wanted.map(({ parts: _, ...library }) => library),
    headers: nvidia.from,
    kernels: `${root}/kernels-${kernelKey}`,
  };
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
