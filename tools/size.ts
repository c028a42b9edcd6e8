/**
 * Counts the lines of the TypeScript sources per file and folder, so that a
 * file that grew too large is seen early.
 *
 * Run: `deno task size [folder…]`
 */

import { filesBelow, ROOT } from "./files.ts";

const THINK_AT = 300;
const SPLIT_AT = 500;

function mark(lines: number): string {
  if (lines > SPLIT_AT) return `  over ${SPLIT_AT}: split`;
  if (lines > THINK_AT) return `  over ${THINK_AT}: think`;
  return "";
}

function folderRow(lines: number, files: number, name: string): string {
  return `${String(lines).padStart(7)} ${String(files).padStart(6)}  ${name}`;
}

function main(): void {
  const roots = Deno.args.length > 0 ? Deno.args : ["."];
  const files = roots.flatMap((root) => filesBelow(root, [".ts"])).map(
    (path) => {
      const text = Deno.readTextFileSync(`${ROOT}/${path}`);
      return { path, lines: text.split("\n").length - 1 };
    },
  );
  files.sort((a, b) => b.lines - a.lines || (a.path < b.path ? -1 : 1));
  for (const { path, lines } of files) {
    console.log(`${String(lines).padStart(7)}  ${path}${mark(lines)}`);
  }

  const folders = Map.groupBy(
    files,
    ({ path }) => path.includes("/") ? path.split("/")[0] + "/" : "(top)",
  );
  const sum = (list: typeof files) =>
    list.reduce((lines, file) => lines + file.lines, 0);
  console.log("\n  lines  files  folder");
  for (
    const [name, list] of [...folders].sort((a, b) => sum(b[1]) - sum(a[1]))
  ) {
    console.log(folderRow(sum(list), list.length, name));
  }
  console.log(folderRow(sum(files), files.length, "total"));

  const large = files.filter((file) => file.lines > THINK_AT);
  const split = large.filter((file) => file.lines > SPLIT_AT);
  console.log(
    `${large.length} files over ${THINK_AT} lines, ` +
      `${split.length} of them over ${SPLIT_AT}.`,
  );
}

if (import.meta.main) main();
