/** Finds a Python that has PyTorch, or makes one outside the checkout. */

import { ROOT } from "./files.ts";

const REQUIREMENTS = `${ROOT}/tests/golden/requirements.txt`;

/** A Python with PyTorch, or why there is none. */
export type TorchPython = { path: string } | { absent: string };

async function succeeds(command: string, args: string[]): Promise<boolean> {
  try {
    const { code } = await new Deno.Command(command, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).output();
    return code === 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function cacheFolder(): string {
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE") ?? ".";
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${home}/.cache`;
  return `${cache}/decaf/python`;
}

/**
 * The first of `$PYTHON`, the environment made earlier and `python3` that can
 * import torch. Where none can and `install` is set, makes an environment in
 * the user's cache folder, which takes some minutes and about 5 GB.
 */
export async function findTorch(
  options: { install: boolean },
): Promise<TorchPython> {
  const made = `${cacheFolder()}/bin/python`;
  const named = Deno.env.get("PYTHON");
  for (const path of named ? [named] : [made, "python3"]) {
    if (await succeeds(path, ["-c", "import torch"])) return { path };
  }
  if (named) return { absent: `PYTHON=${named} cannot import torch` };
  if (!options.install) {
    return {
      absent: "python3 here has no torch; set PYTHON to one that has, " +
        "or run with --install to make one (about 5 GB)",
    };
  }
  console.error(`Installing PyTorch into ${cacheFolder()} (about 5 GB) …`);
  if (!await succeeds("python3", ["-m", "venv", cacheFolder()])) {
    return { absent: "python3 -m venv did not work" };
  }
  const pip = ["-m", "pip", "install", "--quiet", "-r", REQUIREMENTS];
  if (!await succeeds(made, pip)) {
    return { absent: "pip could not install torch" };
  }
  return { path: made };
}
