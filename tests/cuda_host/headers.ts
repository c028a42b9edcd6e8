/**
 * Where NVIDIA's headers lie, as its Python wheels install them.
 *
 * @module
 */

function present(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The folder `nvidia` of a site-packages folder, where one is known. */
async function nvidiaFolder(): Promise<string | undefined> {
  const named = Deno.env.get("DECAF_NVIDIA");
  if (named !== undefined) return named === "" ? undefined : named;
  try {
    const { code, stdout } = await new Deno.Command("python3", {
      args: [
        "-c",
        "import sysconfig; print(sysconfig.get_paths()['purelib'])",
      ],
      stderr: "null",
    }).output();
    if (code !== 0) return undefined;
    return `${new TextDecoder().decode(stdout).trim()}/nvidia`;
  } catch {
    return undefined;
  }
}

/** Folders for `-I`; none without NVIDIA's headers of CUDA 13. */
export async function findHeaders(): Promise<
  { folders: string[]; from: string | undefined }
> {
  const nvidia = await nvidiaFolder();
  if (nvidia === undefined || !present(`${nvidia}/cu13/include/cuda.h`)) {
    return { folders: [], from: undefined };
  }
  const folders = ["cu13", "cudnn", "nccl"]
    .map((name) => `${nvidia}/${name}/include`)
    .filter(present);
  return { folders, from: nvidia };
}
