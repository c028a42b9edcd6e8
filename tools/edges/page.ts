/** docs/pytorch_differences.md, made of the rules. */

import { ROOT } from "../files.ts";
import { forms } from "./forms.ts";
import { refusals } from "./refusals.ts";
import type { Rules } from "./rules.ts";
import { rules as elements } from "./table.ts";

/** Where the page lies. */
export const PAGE = `${ROOT}/docs/pytorch_differences.md`;

/** All rules. */
export const rules: Rules = { elements, forms, refusals };

const introduction = `# Where Decaf differs from PyTorch on purpose

\`deno task edges\` feeds every operator NaN, ±∞, ±0, huge and tiny numbers, ties
and empty axes in every dtype (75,000 calls) and compares with PyTorch on the
CPU, live; \`--gradients\` compares gradients too, \`--zeros\` tells 0 from −0,
\`--refusals\` shows calls that only one side takes, \`--all\` does all of it and
refuses rules that no call shows. An element that differs is compared with what PyTorch says otherwise: without vector instructions and
oneDNN, in f64, and with integers as f64. It must be as one of the rules below
says, or the task fails. The rules lie in \`tools/edges/\`, with the dtypes and
kinds of value of each; \`deno task edges --page\` makes this page of them.
`;

const further = `## Not compared by the task

| what | PyTorch | Decaf |
| --- | --- | --- |
| the gradient of \`ctcLoss\` with respect to log-probabilities | that of logits behind a \`logSoftmax\` | that of the formula |
| the gradient of \`scaledMatmul\` | none through the rounding to 8 bits | as if nothing had been rounded |
| second derivatives of \`ctcLoss\` | refused: \`_ctc_loss_backward\` has no derivative | refused, with a sentence that says so |
| searching unsorted values | not stated | not stated |
| \`true\` or \`false\` of JavaScript as an operand | a truth value without a dtype of its own | refused with a sentence; \`tensor(true)\` is one |
| the dtype of whole numbers in \`tensor(data)\` | f32 where one is written as 1.0 | i64, as JavaScript's 1.0 is 1; \`{ dtype: "f32" }\` says otherwise |
| the text of a tensor | \`True\`, \`size=(0, 3)\`, \`dtype=torch.float64\`, \`requires_grad=True\`, \`grad_fn=<MulBackward0>\` | the same numbers and layout; \`true\`, \`shape=[0, 3]\`, \`dtype=f64\`, \`requiresGrad=true\`, \`gradOf="mul"\` |
| JavaScript numbers as operands of \`maximum\`, \`lerp\` and others of tensors | refused | taken as in arithmetic |
`;

function table(head: readonly string[], rows: readonly string[][]): string {
  return [head, head.map(() => "---"), ...rows].map((row) =>
    `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`
  ).join("\n") + "\n";
}

function operatorsOf(lists: readonly string[]): string {
  const names = new Set(lists.flatMap((list) => list.split(" ")));
  return [...names].sort().map((name) => `\`${name}\``).join(", ");
}

/** The page, before it is formatted. */
export function page({ elements, forms, refusals }: Rules): string {
  return [
    introduction,
    "## Values\n",
    table(
      ["rule", "Decaf", "PyTorch", "why", "operators"],
      elements.map(({ name, decaf, pytorch, why, cases }) => [
        name,
        decaf,
        pytorch,
        why,
        operatorsOf(cases.map((c) => c[3])),
      ]),
    ),
    "## Types and shapes\n",
    table(
      ["rule", "Decaf", "PyTorch", "why", "operators"],
      forms.map(({ name, decaf, pytorch, why, operators }) => [
        name,
        decaf,
        pytorch.source.replaceAll(/[\^$\\]/g, ""),
        why,
        operatorsOf([operators]),
      ]),
    ),
    "## Calls that only one side takes\n",
    table(
      ["refused by", "rule", "why", "operators"],
      refusals.map(({ refuses, name, why, operators }) => [
        refuses,
        name,
        why,
        operatorsOf([operators]),
      ]),
    ),
    further,
  ].join("\n");
}
