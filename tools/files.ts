/** The files of the checkout, for the development scripts. */

/** The root of the checkout, as a path that ends in no slash. */
export const ROOT: string = decodeURIComponent(
  new URL("..", import.meta.url).pathname,
).replace(/\/$/, "");

const SKIPPED = new Set(["node_modules", "runs", "coverage", "results"]);

/** Folders that are no part of the library: nothing imports them. */
export const WORKSHOP: ReadonlySet<string> = new Set([
  "tests",
  "bench",
  "tools",
  "labs",
  "examples",
  "docs",
]);

/** All files below `folder` (relative to the root) with one of `endings`, sorted. */
export function filesBelow(folder: string, endings: string[]): string[] {
  const found: string[] = [];
  const visit = (at: string) => {
    for (const entry of Deno.readDirSync(`${ROOT}/${at}`)) {
      const path = at === "" ? entry.name : `${at}/${entry.name}`;
      if (entry.isDirectory) {
        if (!entry.name.startsWith(".") && !SKIPPED.has(entry.name)) {
          visit(path);
        }
      } else if (entry.isFile && endings.some((e) => path.endsWith(e))) {
        found.push(path);
      }
    }
  };
  visit(folder === "." ? "" : folder.replace(/\/$/, ""));
  return found.sort();
}

/** The TypeScript modules of the library: everything but the workshop folders. */
export function libraryModules(): string[] {
  return filesBelow(".", [".ts"]).filter((path) =>
    !WORKSHOP.has(path.split("/")[0])
  );
}

/**
 * Runs Deno at the root with the terminal passed through, in plain text where
 * there is no terminal; resolves to its exit code.
 */
export async function runDeno(args: string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: Deno.stdout.isTerminal() ? {} : { NO_COLOR: "1" },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  return (await child.status).code;
}

/** Markdown as `deno fmt` writes it. */
export async function formatted(text: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout);
}
