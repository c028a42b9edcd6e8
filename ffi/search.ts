/**
 * Where a native library may lie: toolkits, system folders, conda, and the
 * folders that Python wheels install. Nothing is run, nothing is opened.
 *
 * @module
 */

/** What the search asks of the machine; tests give made-up answers. */
export interface Surroundings {
  /** Operating system. */
  readonly os: string;
  /** Processor, as Deno names it: `x86_64`, `aarch64`. */
  readonly arch: string;
  /** Value of an environment variable; undefined when it is unset, empty, or may not be read. */
  env(name: string): string | undefined;
  /** Names in a folder; none when it may not be read. */
  names(folder: string): string[];
  /** Contents of a small file; undefined when it may not be read. */
  text(file: string): string | undefined;
  /** The path without symbolic links; undefined when it leads nowhere or may not be read. */
  real(path: string): string | undefined;
  /** Whether there is a file; undefined when that may not be asked. */
  exists(path: string): boolean | undefined;
  /** Whether native libraries may be called. */
  mayOpen(): boolean;
}

/** File names of a library and the folders that its wheels use. */
export interface LibraryNames {
  /** File names on Linux, newest version first. */
  readonly linux: readonly string[];
  /** File names on Windows, newest version first. */
  readonly windows: readonly string[];
  /** Folders below `site-packages/nvidia` that hold it: `cu13`, `cuda_runtime`, …; none where no wheel has it. */
  readonly wheels: readonly string[];
}

/** A folder to look into, and why. */
export interface Place {
  /** Folder; empty for the loader's own search. */
  readonly folder: string;
  /** Who named it: `$CUDA_HOME`, `python3 on PATH`, … */
  readonly from: string;
}

function isWindows(machine: Surroundings): boolean {
  return machine.os === "windows";
}

/** Joins parts of a path. */
function join(machine: Surroundings, ...parts: string[]): string {
  return parts.join(isWindows(machine) ? "\\" : "/");
}

/** The folder that a path lies in. */
function parent(path: string): string {
  return path.replace(/[\\/][^\\/]*[\\/]?$/, "");
}

/** File names of the library on this system, newest first. */
export function fileNames(
  names: LibraryNames,
  machine: Surroundings,
): readonly string[] {
  return isWindows(machine) ? names.windows : names.linux;
}

/** All folders to look into, in order, each once. */
export function places(names: LibraryNames, machine: Surroundings): Place[] {
  const found = [
    ...toolkit(machine),
    { folder: "", from: "the loader's own path" },
    ...system(machine),
    ...conda(machine),
    ...(names.wheels.length === 0 ? [] : pythons(machine)).flatMap((
      { folder, from },
    ) => wheels(names, machine, folder, from)),
  ];
  const seen = new Set<string>();
  return found.filter(({ folder }) => {
    const real = machine.real(folder) ?? folder;
    return !seen.has(real) && seen.add(real);
  });
}

/** Folders inside a toolkit that hold libraries. */
function below(machine: Surroundings, root: string): string[] {
  const folders = isWindows(machine)
    ? ["bin", "bin\\x64", "lib\\x64"]
    : ["lib64", "lib", `targets/${machine.arch}-linux/lib`];
  return folders.map((folder) => join(machine, root, folder));
}

function toolkit(machine: Surroundings): Place[] {
  return ["CUDA_HOME", "CUDA_PATH"].flatMap((variable) => {
    const root = machine.env(variable);
    if (root === undefined) return [];
    return below(machine, root.replace(/[\\/]+$/, "")).map((folder) => ({
      folder,
      from: `$${variable}`,
    }));
  });
}

/** Names with the newest version first; `cuda` itself, the one in use, before all. */
function newestFirst(names: string[], stem: string): string[] {
  const version = (name: string) =>
    name === stem ? Infinity : parseFloat(name.replace(/^[^\d]*/, "")) || 0;
  return names.toSorted((a, b) => version(b) - version(a));
}

function system(machine: Surroundings): Place[] {
  if (isWindows(machine)) {
    const programs = machine.env("ProgramFiles") ?? "C:\\Program Files";
    const root = `${programs}\\NVIDIA GPU Computing Toolkit\\CUDA`;
    return newestFirst(machine.names(root), "").flatMap((name) =>
      below(machine, `${root}\\${name}`)
    ).map((folder) => ({ folder, from: "installed toolkits" }));
  }
  const listed = machine.names("/usr/local").filter((name) =>
    /^cuda(-[\d.]+)?$/.test(name)
  );
  const toolkits = newestFirst(listed.length === 0 ? ["cuda"] : listed, "cuda");
  return [
    ...toolkits.flatMap((name) => below(machine, `/usr/local/${name}`)).map(
      (folder) => ({ folder, from: "installed toolkits" }),
    ),
    ...[
      `/usr/lib/${machine.arch}-linux-gnu`,
      "/usr/lib64",
      "/usr/lib/wsl/lib",
      "/usr/lib",
    ].map((folder) => ({ folder, from: "system folders" })),
  ];
}

function conda(machine: Surroundings): Place[] {
  const prefix = machine.env("CONDA_PREFIX");
  if (prefix === undefined) return [];
  const folders = isWindows(machine)
    ? ["Library\\bin"]
    : ["lib", `targets/${machine.arch}-linux/lib`];
  return folders.map((folder) => ({
    folder: join(machine, prefix, folder),
    from: "$CONDA_PREFIX",
  }));
}

/** The folders of the wheels in one `site-packages`: those known by name, then all others. */
function wheels(
  names: LibraryNames,
  machine: Surroundings,
  sitePackages: string,
  from: string,
): Place[] {
  const root = join(machine, sitePackages, "nvidia");
  const others = machine.names(root).filter((name) =>
    /^\w+$/.test(name) && !names.wheels.includes(name)
  );
  const inside = isWindows(machine) ? ["bin", "bin\\x86_64"] : ["lib"];
  return [...names.wheels, ...others.toSorted()].flatMap((wheel) =>
    inside.map((folder) => ({
      folder: join(machine, root, wheel, folder),
      from,
    }))
  );
}

/** The `site-packages` of the Python environments in use. */
export function pythons(machine: Surroundings): Place[] {
  const found: Place[] = [];
  for (const variable of ["VIRTUAL_ENV", "CONDA_PREFIX"]) {
    const prefix = machine.env(variable);
    if (prefix !== undefined) {
      found.push(...sitePackages(machine, prefix, `$${variable}`));
    }
  }
  const python = pythonOnPath(machine);
  if (python !== undefined) {
    found.push(...ofInterpreter(machine, python, "python3 on PATH"));
  }
  return found;
}

/** The `site-packages` below a prefix, newest Python first. */
function sitePackages(
  machine: Surroundings,
  prefix: string,
  from: string,
): Place[] {
  if (isWindows(machine)) {
    return [{ folder: `${prefix}\\Lib\\site-packages`, from }];
  }
  const folders: string[] = [];
  for (const lib of [`${prefix}/lib`, `${prefix}/lib64`]) {
    const versions = machine.names(lib).filter((name) =>
      /^python3(\.\d+)?t?$/.test(name)
    ).toSorted((a, b) => minor(b) - minor(a));
    for (const version of versions) {
      folders.push(`${lib}/${version}/site-packages`);
      folders.push(`${lib}/${version}/dist-packages`);
    }
  }
  return folders.map((folder) => ({ folder, from }));
}

function minor(version: string): number {
  return Number(/^python3\.(\d+)/.exec(version)?.[1] ?? -1);
}

/** Packages of the environment that an interpreter belongs to. */
function ofInterpreter(
  machine: Surroundings,
  python: string,
  from: string,
): Place[] {
  const prefix = isWindows(machine) ? parent(python) : parent(parent(python));
  const config = machine.text(join(machine, prefix, "pyvenv.cfg")) ??
    machine.text(join(machine, parent(prefix), "pyvenv.cfg"));
  if (config === undefined) {
    const real = machine.real(python) ?? python;
    const base = isWindows(machine) ? parent(real) : parent(parent(real));
    const places = sitePackages(machine, base, from);
    if (base === "/usr") {
      places.push(...sitePackages(machine, "/usr/local", from));
    }
    const home = machine.env("HOME");
    if (home !== undefined && !isWindows(machine)) {
      places.push(...sitePackages(machine, `${home}/.local`, from));
    }
    return places;
  }
  const own = isWindows(machine) ? parent(prefix) : prefix;
  const places = sitePackages(machine, own, from);
  const home = /^home\s*=\s*(.+?)\s*$/m.exec(config)?.[1];
  if (
    home !== undefined &&
    /^include-system-site-packages\s*=\s*true\s*$/mi.test(config)
  ) {
    const base = isWindows(machine) ? home : parent(home);
    places.push(...sitePackages(machine, base, from));
  }
  return places;
}

/** The interpreter that `python3` would start; a shim of pyenv leads to the version that it would choose. */
function pythonOnPath(machine: Surroundings): string | undefined {
  const windows = isWindows(machine);
  const name = windows ? "python.exe" : "python3";
  for (const folder of (machine.env("PATH") ?? "").split(windows ? ";" : ":")) {
    if (folder === "") continue;
    const file = join(machine, folder, name);
    if (machine.exists(file) !== true) continue;
    if (!/[\\/]shims$/.test(folder)) return file;
    const chosen = ofPyenv(machine, parent(folder));
    if (chosen !== undefined) return chosen;
  }
  return undefined;
}

/** The interpreter that pyenv's shim starts: by variable, by `.python-version`, by its global version. */
function ofPyenv(machine: Surroundings, root: string): string | undefined {
  const local = [machine.env("PWD") ?? ""];
  while (local[0] !== "") local.unshift(parent(local[0]));
  const files = [
    ...local.reverse().map((folder) =>
      join(machine, folder, ".python-version")
    ),
    join(machine, root, "version"),
  ];
  const chosen = machine.env("PYENV_VERSION") ??
    files.map((file) => machine.text(file)).find((text) => text !== undefined);
  for (const version of chosen?.trim().split(/[\s:]+/) ?? []) {
    const base = join(machine, root, "versions", version);
    const file = isWindows(machine)
      ? `${base}\\python.exe`
      : `${base}/bin/python3`;
    if (machine.exists(file) === true) return file;
  }
  return undefined;
}
