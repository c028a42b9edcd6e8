/**
 * Finds and opens native libraries, once each and only when they are needed,
 * and says why one could not be opened.
 *
 * @module
 */

import { machine } from "./machine.ts";
import {
  fileNames,
  type LibraryNames,
  type Place,
  places,
  type Surroundings,
} from "./search.ts";

/** How a library tells its version, and which one is needed. */
export interface LibraryVersion<S extends Deno.ForeignLibraryInterface> {
  /** Functions of the table that `read` calls; every version has them. */
  readonly functions: readonly (keyof S & string)[];
  /** Asks the library. */
  read(symbols: Deno.DynamicLibrary<S>["symbols"]): number;
  /** The number as people write it: `13.2`. */
  text(version: number): string;
  /** Oldest version that works. */
  readonly least: number;
}

/** A native library that Decaf calls. */
export interface LibrarySpec<S extends Deno.ForeignLibraryInterface>
  extends LibraryNames {
  /** Short name: `cudart`. */
  readonly name: string;
  /** What it is: `the CUDA runtime`. */
  readonly title: string;
  /** Environment variable that holds the path of its file. */
  readonly variable: string;
  /** Functions that are called. */
  readonly symbols: S;
  /** Its version. */
  readonly version: LibraryVersion<S>;
  /** What installs it on a machine, for a major version of CUDA: one command per packager. */
  install(machine: Surroundings, cuda: number): readonly string[];
}

/** One path that was tried. */
export interface Attempt {
  /** File, or several in braces. */
  readonly path: string;
  /** Who named the place. */
  readonly from: string;
  /** Why it was not opened; undefined for the one that was. */
  readonly reason: string | undefined;
}

/** A library that was opened. */
export interface OpenedLibrary<S extends Deno.ForeignLibraryInterface> {
  /** File that was opened, as it was given to the loader. */
  readonly path: string;
  /** Its version. */
  readonly version: number;
  /** Its version as people write it. */
  readonly versionText: string;
  /** Every path that was tried, the last one being the one that was opened. */
  readonly tried: readonly Attempt[];
  /** Its functions. */
  readonly symbols: Deno.DynamicLibrary<S>["symbols"];
}

/** A native library could not be opened. */
export class LibraryError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "LibraryError";

  /**
   * Holds what was tried.
   *
   * @param library Short name of the library.
   * @param message What is missing, and what would work.
   * @param tried Every path that was tried, with the reason it failed.
   */
  constructor(
    readonly library: string,
    message: string,
    readonly tried: readonly Attempt[],
  ) {
    super(message);
  }
}

/** Nothing lies at the path: not worth a word in a sentence. */
const absent = "no such file";

/** How libraries are opened; tests put their own in. */
export type Opener = typeof Deno.dlopen;

/** Why the loader refused a file, in few words. */
function loaderReason(path: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const missing = /(?:^|: )([^\s:]+): cannot open shared object file/.exec(
    text,
  )?.[1];
  if (missing !== undefined) {
    return missing === path ? absent : `needs ${missing}, which was not found`;
  }
  if (/could not be found|cannot find|os error 126/i.test(text)) return absent;
  if (/ELF|too short|os error 193|not a valid Win32/i.test(text)) {
    return "is no library for this machine";
  }
  return text.replace(/^(Could not open library: )+/, "");
}

/** Name of the function that the loader did not find in the file. */
function missingSymbol(error: unknown): string | undefined {
  const text = error instanceof Error ? error.message : "";
  return /Failed to register symbol (\w+)/.exec(text)?.[1];
}

/** Opens one file; the reason when that fails. */
function tryFile<S extends Deno.ForeignLibraryInterface>(
  spec: LibrarySpec<S>,
  path: string,
  open: Opener,
): { library: Deno.DynamicLibrary<S>; version: number } | string {
  const { version } = spec;
  const needed = `${version.text(version.least)} or newer is needed`;
  let library: Deno.DynamicLibrary<S>;
  try {
    library = open(path, spec.symbols);
  } catch (error) {
    const symbol = missingSymbol(error);
    if (symbol === undefined) return loaderReason(path, error);
    const found = versionOf(spec, path, open);
    return found === undefined
      ? `has no function ${symbol}: it is not ${spec.title}, or not one that Decaf knows; ${needed}`
      : `has no function ${symbol}: its version is ${found}, and ${needed}`;
  }
  const found = version.read(library.symbols);
  if (found >= version.least) return { library, version: found };
  library.close();
  return `its version is ${version.text(found)}, and ${needed}`;
}

/** Version of a file that lacks functions; undefined when it lacks even those that tell it. */
function versionOf<S extends Deno.ForeignLibraryInterface>(
  { symbols, version }: LibrarySpec<S>,
  path: string,
  open: Opener,
): string | undefined {
  const few = Object.fromEntries(
    version.functions.map((name) => [name, symbols[name]]),
  ) as unknown as S;
  try {
    const library = open(path, few);
    const found = version.text(version.read(library.symbols));
    library.close();
    return found;
  } catch {
    return undefined;
  }
}

function joined(folder: string, file: string): string {
  if (folder === "") return file;
  return folder.includes("\\") ? `${folder}\\${file}` : `${folder}/${file}`;
}

/**
 * Looks for a library and opens it.
 *
 * @throws {LibraryError} when none of the places has one that works.
 */
export function findLibrary<S extends Deno.ForeignLibraryInterface>(
  spec: LibrarySpec<S>,
  surroundings: Surroundings = machine,
  open: Opener = Deno.dlopen,
): OpenedLibrary<S> {
  const tried: Attempt[] = [];
  const attempt = (
    path: string,
    from: string,
  ): OpenedLibrary<S> | undefined => {
    const result = tryFile(spec, path, open);
    if (typeof result === "string") {
      tried.push({ path, from, reason: result });
      return undefined;
    }
    tried.push({ path, from, reason: undefined });
    const { library: { symbols }, version } = result;
    const versionText = spec.version.text(version);
    return { path, version, versionText, tried, symbols };
  };

  if (!surroundings.mayOpen()) {
    throw new LibraryError(
      spec.name,
      `Cannot open ${spec.title}: native libraries may not be called; run with --allow-ffi, for all files and not for some (a CUDA device needs it, the CPU device does not)`,
      tried,
    );
  }
  const named = surroundings.env(spec.variable);
  if (named !== undefined) {
    const opened = attempt(named, `$${spec.variable}`);
    if (opened !== undefined) return opened;
    throw new LibraryError(
      spec.name,
      `Cannot open ${spec.title}: the file that ${spec.variable} names, ${named}, ${
        tried[0].reason === absent ? "does not exist" : tried[0].reason
      }; set the variable to the file of the library, or unset it to search for it`,
      tried,
    );
  }
  const files = fileNames(spec, surroundings);
  for (const place of places(spec, surroundings)) {
    const opened = tryPlace(place, files, surroundings, attempt, tried);
    if (opened !== undefined) return opened;
  }
  const sentence = notFound(spec, files, tried, surroundings);
  throw new LibraryError(spec.name, sentence, tried);
}

/** Tries the files of one folder; those that are known to be absent count as one attempt. */
function tryPlace<T>(
  { folder, from }: Place,
  files: readonly string[],
  surroundings: Surroundings,
  attempt: (path: string, from: string) => T | undefined,
  tried: Attempt[],
): T | undefined {
  const present = folder === ""
    ? files
    : files.filter((file) =>
      surroundings.exists(joined(folder, file)) !== false
    );
  if (present.length === 0) {
    tried.push({
      path: joined(
        folder,
        files.length > 1 ? `{${files.join(",")}}` : files[0],
      ),
      from,
      reason: absent,
    });
  }
  for (const file of present) {
    const opened = attempt(joined(folder, file), from);
    if (opened !== undefined) return opened;
  }
  return undefined;
}

/** How many failures a sentence names. */
const namedAttempts = 3;

function notFound(
  spec: LibrarySpec<Deno.ForeignLibraryInterface>,
  files: readonly string[],
  tried: readonly Attempt[],
  surroundings: Surroundings,
): string {
  const failed = tried.filter(({ reason }) => reason !== absent);
  const found = failed.slice(0, namedAttempts).map(({ path, reason }) =>
    `${path}: ${reason}`
  );
  const what = failed.length === 0
    ? `none of ${
      files.join(", ")
    } lies in the ${tried.length} places that were looked at`
    : found.join("; ");
  return `Cannot open ${spec.title}: ${what}. Install it (${
    spec.install(surroundings, cudaInUse()).join(", or ")
  }), or set ${spec.variable} to its file; "decaf doctor" lists every path that was tried`;
}

const opened = new Map<string, OpenedLibrary<Deno.ForeignLibraryInterface>>();

/** Major version of the CUDA that libraries must be for: that of the runtime, else the driver's, as far as they were opened. */
function cudaInUse(): number {
  const known = opened.get("cudart") ?? opened.get("cuda");
  return known === undefined ? 13 : Math.floor(known.version / 1000);
}

/** What installs a library here, beside those that were opened. */
export function howToInstall(
  spec: LibrarySpec<Deno.ForeignLibraryInterface>,
): readonly string[] {
  return spec.install(machine, cudaInUse());
}

const failed = new Map<string, { variable?: string; error: LibraryError }>();

/**
 * The library, opened at the first call; a failure is remembered until the
 * library's variable changes.
 *
 * @throws {LibraryError} when it cannot be opened, or `--allow-ffi` was not given.
 */
export function openLibrary<S extends Deno.ForeignLibraryInterface>(
  spec: LibrarySpec<S>,
): OpenedLibrary<S> {
  const known = opened.get(spec.name);
  if (known !== undefined) return known as unknown as OpenedLibrary<S>;
  const variable = machine.env(spec.variable);
  const before = failed.get(spec.name);
  if (before !== undefined && before.variable === variable) throw before.error;
  try {
    const library = findLibrary(spec);
    opened.set(spec.name, library as never);
    return library;
  } catch (error) {
    if (error instanceof LibraryError) {
      failed.set(spec.name, { variable, error });
    }
    throw error;
  }
}

/** The library, or why it cannot be opened. */
export function tryLibrary<S extends Deno.ForeignLibraryInterface>(
  spec: LibrarySpec<S>,
): OpenedLibrary<S> | LibraryError {
  try {
    return openLibrary(spec);
  } catch (error) {
    if (error instanceof LibraryError) return error;
    throw error;
  }
}
