/**
 * Sums of products written with indices.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { reshape, sum } from "./foundation.ts";
import { batchMatmul } from "./matmul.ts";
import { t } from "./samples.ts";
import { diagonal } from "./diagonals.ts";
import { permute } from "./shape.ts";

/** An operand with a letter per axis. */
interface Term {
  readonly tensor: Tensor;
  readonly letters: readonly string[];
}

const ellipsisLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

function parse(
  equation: string,
  tensors: readonly Tensor[],
): { terms: Term[]; output: string[] } {
  const bad = (why: string) =>
    new ShapeError(
      `Cannot evaluate einsum "${equation}" of tensors of shapes ${
        tensors.map((x) => shapeText(x.shape)).join(", ")
      }: ${why}`,
    );
  const [left, right, ...more] = equation.replaceAll(" ", "").split("->");
  const inputs = left.split(",");
  if (
    more.length > 0 || !/^[a-z,.]*$/.test(left) ||
    (right !== undefined && !/^[a-z.]*$/.test(right))
  ) {
    throw bad(
      "write it as lower-case letters per operand, such as bij,bjk->bik",
    );
  }
  if (inputs.length !== tensors.length) {
    throw bad(
      `it names ${inputs.length} operands, and ${tensors.length} are given`,
    );
  }
  let dots = 0;
  const terms = inputs.map((text, i): Term => {
    const tensor = tensors[i];
    const [head, tail] = text.split("...");
    if (tail === undefined) {
      if (head.length !== tensor.rank) {
        throw bad(
          `operand ${i} has ${tensor.rank} axes and ${head.length} letters`,
        );
      }
      return { tensor, letters: [...head] };
    }
    const hidden = tensor.rank - head.length - tail.length;
    if (hidden < 0) {
      throw bad(`operand ${i} has ${tensor.rank} axes, fewer than its letters`);
    }
    dots = Math.max(dots, hidden);
    // Ellipsis axes are counted from the end, as broadcasting does.
    const own = Array.from(
      { length: hidden },
      (_, d) => ellipsisLetters[hidden - 1 - d],
    );
    return { tensor, letters: [...head, ...own, ...tail] };
  });
  const ellipsis = Array.from(
    { length: dots },
    (_, d) => ellipsisLetters[dots - 1 - d],
  );
  const extents = new Map<string, number>();
  for (const { tensor, letters } of terms) {
    letters.forEach((letter, d) => {
      const seen = extents.get(letter);
      const n = tensor.shape[d];
      if (seen !== undefined && seen !== n && seen !== 1 && n !== 1) {
        throw bad(`index ${letter} has extents ${seen} and ${n}`);
      }
      extents.set(letter, Math.max(seen ?? 1, n));
    });
  }
  let output: string[];
  if (right === undefined) {
    const counts = new Map<string, number>();
    for (const letter of terms.flatMap((term) => term.letters)) {
      counts.set(letter, (counts.get(letter) ?? 0) + 1);
    }
    const once = [...counts].filter(([letter, n]) => n === 1 && letter > "Z")
      .map(([letter]) => letter).sort();
    output = [...ellipsis, ...once];
  } else {
    const [head, tail] = right.split("...");
    output = tail === undefined ? [...head] : [...head, ...ellipsis, ...tail];
    for (const letter of output) {
      if (!extents.has(letter)) {
        throw bad(`index ${letter} of the result is in no operand`);
      }
    }
    if (new Set(output).size !== output.length) {
      throw bad("an index of the result is repeated");
    }
  }
  return { terms, output };
}

/** Takes the diagonal where a letter stands twice. */
function withoutRepeats(term: Term): Term {
  const { letters } = term;
  for (let i = 0; i < letters.length; i++) {
    const j = letters.indexOf(letters[i], i + 1);
    if (j < 0) continue;
    const tensor = diagonal(term.tensor, { axis1: i, axis2: j });
    const rest = letters.filter((_, d) => d !== i && d !== j);
    return withoutRepeats({ tensor, letters: [...rest, letters[i]] });
  }
  return term;
}

/** The term with its axes in the given order; letters it lacks become axes of extent 1. */
function arrange({ tensor, letters }: Term, order: readonly string[]): Tensor {
  const present = order.filter((letter) => letters.includes(letter));
  const moved = permute(
    tensor,
    present.map((letter) => letters.indexOf(letter)),
  );
  return reshape(
    moved,
    order.map((letter) =>
      letters.includes(letter) ? tensor.shape[letters.indexOf(letter)] : 1
    ),
  );
}

/** Sums over letters that nothing else needs. */
function drop(term: Term, keep: ReadonlySet<string>): Term {
  const axes = term.letters.flatMap((letter, d) => keep.has(letter) ? [] : [d]);
  if (axes.length === 0) return term;
  return {
    tensor: sum(term.tensor, axes),
    letters: term.letters.filter((letter) => keep.has(letter)),
  };
}

/** Multiplies two terms as a batch of matrix products, summing over what is not kept. */
function contract(a: Term, b: Term, keep: ReadonlySet<string>): Term {
  const extent = (term: Term, letter: string) => {
    const d = term.letters.indexOf(letter);
    return d < 0 ? 1 : term.tensor.shape[d];
  };
  const both = a.letters.filter((letter) => b.letters.includes(letter));
  const batch = both.filter((letter) => keep.has(letter));
  // A summed index of extent 1 on one side is summed on the other first.
  const uneven = both.filter((letter) =>
    !keep.has(letter) && extent(a, letter) !== extent(b, letter)
  );
  const without = (term: Term) =>
    new Set(
      term.letters.filter((l) =>
        !(uneven.includes(l) && extent(term, l) !== 1) || keep.has(l)
      ),
    );
  const x = drop(drop(a, new Set([...keep, ...b.letters])), without(a));
  const y = drop(drop(b, new Set([...keep, ...a.letters])), without(b));
  const summed = x.letters.filter((letter) =>
    !keep.has(letter) && y.letters.includes(letter)
  );
  const rows = x.letters.filter((letter) =>
    !batch.includes(letter) && !summed.includes(letter)
  );
  const columns = y.letters.filter((letter) =>
    !batch.includes(letter) && !summed.includes(letter) &&
    !uneven.includes(letter)
  );
  const size = (term: Term, letters: readonly string[]) =>
    letters.reduce((n, l) => n * extent(term, l), 1);
  const left = reshape(arrange(x, [...batch, ...rows, ...summed]), [
    ...batch.map((l) => extent(x, l)),
    size(x, rows),
    size(x, summed),
  ]);
  const right = reshape(arrange(y, [...batch, ...summed, ...columns]), [
    ...batch.map((l) => extent(y, l)),
    size(y, summed),
    size(y, columns),
  ]);
  const product = batchMatmul(left, right);
  const letters = [...batch, ...rows, ...columns];
  return {
    tensor: reshape(product, [
      ...batch.map((l) => Math.max(extent(x, l), extent(y, l))),
      ...rows.map((l) => extent(x, l)),
      ...columns.map((l) => extent(y, l)),
    ]),
    letters,
  };
}

/**
 * Sum of products over the indices that the result does not name, such as
 * `"bij,bjk->bik"`. `...` stands for axes that broadcast; without `->` the
 * result has the indices that occur once, in alphabetical order.
 *
 * @throws {ShapeError} when the equation and the shapes do not fit.
 */
export const einsum: (equation: string, tensors: readonly Tensor[]) => Tensor =
  operator<
    (equation: string, tensors: readonly Tensor[]) => Tensor,
    { equation: string }
  >({
    name: "einsum",
    family: "matmul",
    inputs: ["...xs"],
    attrs: { equation: "" },
    bind: (equation, tensors) => ({ inputs: tensors, attrs: { equation } }),
    formula:
      "y[result's letters] = Σ over the other letters of Πₖ xₖ[its letters]",
    torch: "torch.einsum(equation, *xs)",
    onnx: "Einsum",
    run: (tensors, { equation }) => {
      const { terms, output } = parse(equation, tensors);
      const plain = terms.map(withoutRepeats);
      let result = plain[0];
      for (let i = 1; i < plain.length; i++) {
        const later = plain.slice(i + 1).flatMap((term) => term.letters);
        result = contract(result, plain[i], new Set([...output, ...later]));
      }
      return arrange(drop(result, new Set(output)), output);
    },
    samples: [
      ["ij,jk->ik", [t([2, 3]), t([3, 4])]],
      ["bij,bjk->bik", [t([2, 2, 3]), t([2, 3, 2])]],
      ["ij->ji", [t([2, 3])]],
      ["ii->i", [t([3, 3])]],
      ["ii", [t([3, 3])]],
      ["ij,ij->", [t([2, 3]), t([2, 3])]],
      ["i,j->ij", [t([2]), t([3])]],
      ["...ij,...jk->...ik", [t([2, 2, 3]), t([3, 2])]],
      ["bhqd,bhkd->bhqk", [t([1, 2, 2, 3]), t([1, 2, 4, 3])]],
      ["ij,jk,kl->il", [t([2, 3]), t([3, 2]), t([2, 4])]],
      ["ijk->j", [t([2, 3, 2])]],
      ["ji,jk", [t([3, 2]), t([3, 2])]],
    ],
  });
