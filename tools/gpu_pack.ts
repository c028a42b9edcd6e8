/**
 * Packs what `deno task gpu` needs on a machine without a network into the
 * folder gpu_pack: Deno itself and the packages that the tests import. Copy the
 * checkout with that folder and run `bash gpu_pack/run.sh` there.
 *
 *     deno task gpu:pack
 */

import { filesBelow, ROOT } from "./files.ts";

const folder = `${ROOT}/gpu_pack`;

const script = `#!/usr/bin/env bash
# Unpacks Deno and its packages, and runs everything that needs a GPU.
set -eu
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
xz -dc gpu_pack/deno.xz > "$place/deno"
chmod +x "$place/deno"
mkdir "$place/cache"
tar -C "$place/cache" -xJf gpu_pack/packages.tar.xz
export DENO_DIR="$place/cache" PATH="$place:$PATH" DENO_NO_UPDATE_CHECK=1
deno task gpu "$@"
`;

async function run(
  command: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<void> {
  const { code } = await new Deno.Command(command, {
    args,
    cwd: ROOT,
    env,
    stdin: "null",
  }).spawn().status;
  if (code !== 0) {
    console.error(`${command} ${args[0]} … ended with exit code ${code}.`);
    Deno.exit(1);
  }
}

async function main(): Promise<void> {
  const cache = await Deno.makeTempDir();
  try {
    await Deno.mkdir(folder, { recursive: true });
    const modules = [
      ...filesBelow("tests", [".ts"]),
      ...filesBelow("tools", [".ts"]),
      ...filesBelow("bench/gpu", [".ts"]),
      "cli.ts",
    ];
    await run(Deno.execPath(), ["cache", "--quiet", ...modules], {
      DENO_DIR: cache,
    });
    await run("tar", [
      "-C",
      cache,
      "-cJf",
      `${folder}/packages.tar.xz`,
      "npm",
    ]);
    const deno = await new Deno.Command("xz", {
      args: ["-9", "-T0", "-c", Deno.execPath()],
      stdin: "null",
    }).output();
    await Deno.writeFile(`${folder}/deno.xz`, deno.stdout);
    await Deno.writeTextFile(`${folder}/run.sh`, script);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
  for (const { name } of Deno.readDirSync(folder)) {
    const { size } = await Deno.stat(`${folder}/${name}`);
    console.log(`gpu_pack/${name}: ${(size / 2 ** 20).toFixed(1)} MiB`);
  }
}

if (import.meta.main) await main();
