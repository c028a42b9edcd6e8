/**
 * Everything about the sources that is checked without running them, and the
 * examples in their documentation. All parts run; the exit code is 1 if one
 * failed, and the last lines say which.
 *
 * Run: `deno task check [fmt] [lint] [types] [doc] [examples]` (all without a name)
 */

import { filesBelow, libraryModules, runDeno } from "./files.ts";

/** Each part as a command line of Deno, made when it runs. */
const parts: Record<string, () => string[]> = {
  fmt: () => ["fmt", "--check"],
  lint: () => ["lint", "--quiet"],
  types: () => ["check", "--quiet", "."],
  doc: () => ["doc", "--quiet", "--lint", ...libraryModules()],
  examples: () => ["test", "--quiet", "-A", "--doc", ...withExamples()],
};

/** Modules and pages whose fenced examples are run. */
function withExamples(): string[] {
  const pages = filesBelow(".", [".md"]).filter((path) =>
    path === "README.md" || path.startsWith("docs/")
  );
  return [...libraryModules(), ...pages];
}

async function main(): Promise<number> {
  const names = Deno.args.length > 0 ? Deno.args : Object.keys(parts);
  for (const name of names) {
    if (!(name in parts)) {
      console.error(
        `Unknown part "${name}": the parts are ${
          Object.keys(parts).join(", ")
        }.`,
      );
      return 2;
    }
  }
  const lines: string[] = [];
  let failed = 0;
  for (const name of names) {
    const args = parts[name]();
    console.log(`check ${name}: deno ${args.slice(0, 3).join(" ")}`);
    const start = performance.now();
    const code = await runDeno(args);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    if (code !== 0) failed++;
    lines.push(`${code === 0 ? "ok    " : "FAILED"} ${name} (${seconds} s)`);
  }
  console.log("\n" + lines.join("\n"));
  return failed > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main());
