/**
 * Golden values: hands the samples of all operators to PyTorch and writes what
 * it computes into tests/golden/values, or compares with what lies there.
 *
 * Run: `deno task golden [--compare] [--install]`
 * `--install` may put PyTorch (about 5 GB) into the user's cache folder.
 */

import { operators } from "../mod.ts";
import { encodeOperators } from "../tests/golden/samples.ts";
import { ROOT } from "./files.ts";
import { findTorch } from "./python.ts";

async function main(): Promise<number> {
  const unknown = Deno.args.filter((arg) =>
    arg !== "--compare" && arg !== "--install"
  );
  if (unknown.length > 0) {
    console.error(
      `Unknown argument ${unknown[0]}: there are --compare and --install.`,
    );
    return 2;
  }
  const python = await findTorch({ install: Deno.args.includes("--install") });
  if ("absent" in python) {
    console.error(`No Python with PyTorch: ${python.absent}.`);
    return 1;
  }
  const all = [...operators().values()];
  const without = all.filter((op) => !op.torch).map((op) => op.name);
  if (without.length > 0) {
    console.log(`No expression for PyTorch: ${without.join(", ")}`);
  }
  const samples = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(samples, encodeOperators(all));
    const compare = Deno.args.includes("--compare") ? ["--compare"] : [];
    const folder = `${ROOT}/tests/golden`;
    const { code } = await new Deno.Command(python.path, {
      args: [`${folder}/make.py`, samples, `${folder}/values`, ...compare],
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    return code;
  } finally {
    await Deno.remove(samples);
  }
}

if (import.meta.main) Deno.exit(await main());
