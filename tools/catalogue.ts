/**
 * Writes docs/operators.md from the declarations: every operator with its
 * first sentence, formula and names elsewhere.
 *
 *     deno task catalogue            # writes the page
 *     deno task catalogue --check    # fails when the page is not up to date
 */

import { operators } from "../mod.ts";
import { formatted, ROOT } from "./files.ts";

/** What is used of the output of `deno doc --json`. */
interface DocOutput {
  readonly nodes: Record<string, {
    readonly symbols: readonly {
      readonly name: string;
      readonly declarations: readonly {
        readonly jsDoc?: { readonly doc?: string };
      }[];
    }[];
  }>;
}

/** First sentences about the operators, by name: of what is exported as the operator, else under its name. */
async function sentences(): Promise<Map<string, string>> {
  const files = [...Deno.readDirSync(`${ROOT}/ops`)].map((f) => `ops/${f.name}`)
    .filter((f) => f.endsWith(".ts")).sort();
  const { stdout, code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", ...files],
    cwd: ROOT,
    stdin: "null",
  }).output();
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
  const named = new Map<string, string>();
  const exact = new Map<string, string>();
  const nameOf = new Map([...operators()].map(([name, op]) => [op.call, name]));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout)) as DocOutput;
  for (const [file, { symbols }] of Object.entries(nodes)) {
    const exported: Record<string, unknown> = await import(file);
    for (const { name, declarations } of symbols) {
      const doc = declarations.find((d) => d.jsDoc?.doc)?.jsDoc?.doc;
      if (doc === undefined) continue;
      named.set(name, firstSentence(doc));
      const operator = nameOf.get(exported[name] as () => unknown);
      if (operator !== undefined) exact.set(operator, firstSentence(doc));
    }
  }
  return new Map([...named, ...exact]);
}

function firstSentence(doc: string): string {
  const paragraph = doc.split("\n\n")[0].replaceAll("\n", " ").trim();
  const end = paragraph.search(/\.(\s|$)|:$/);
  const sentence = end < 0 ? paragraph : paragraph.slice(0, end);
  return sentence.replaceAll(/\{@linkcode (\w+)\}/g, "`$1`").replaceAll(
    "|",
    "\\|",
  );
}

function code(text: string | undefined): string {
  return text === undefined ? "" : `\`${text.replaceAll("|", "\\|")}\``;
}

/** The page. */
async function page(): Promise<string> {
  const docs = await sentences();
  const all = [...operators().values()];
  const families = [...new Set(all.map((op) => op.family))].sort();
  const lines = [
    "# Operators",
    "",
    `${all.length} operators, from their declarations in \`ops/\` (\`deno task catalogue\`). An operator whose first operand is a tensor is also a method: \`relu(x)\` is \`x.relu()\`. ∂ marks those with gradients.`,
    "",
  ];
  for (const family of families) {
    lines.push(
      `## ${family}`,
      "",
      "| | ∂ | what it computes | formula | ONNX | Caffe2 |",
      "|---|---|---|---|---|---|",
    );
    for (const op of all.filter((o) => o.family === family)) {
      const names = op.inputs.join(", ");
      const attrs = Object.keys(op.attrs).join(", ");
      const call = `${op.name}(${names}${attrs === "" ? "" : `; ${attrs}`})`;
      const doc = docs.get(op.name);
      if (doc === undefined) {
        throw new TypeError(`Operator ${op.name} has no documentation`);
      }
      lines.push(
        `| ${code(call)} | ${op.differentiable ? "∂" : ""} | ${doc} | ${
          code(op.formula)
        } | ${op.onnx ?? ""} | ${op.caffe2 ?? ""} |`,
      );
    }
    lines.push("");
  }
  return lines.join("\n");
}

if (import.meta.main) {
  const path = `${ROOT}/docs/operators.md`;
  const text = await formatted(await page());
  if (Deno.args.includes("--check")) {
    const before = await Deno.readTextFile(path).catch(() => "");
    if (before !== text) {
      console.error(
        "docs/operators.md is not up to date: run deno task catalogue",
      );
      Deno.exit(1);
    }
  } else await Deno.writeTextFile(path, text);
}
