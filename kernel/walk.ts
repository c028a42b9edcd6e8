/**
 * The axes that a launch walks, before a device chooses how: axes of extent 1
 * are dropped, and neighbours that every operand walks without a break are
 * joined to one.
 *
 * @module
 */

/** Axes to walk: extents, and the step of every operand along each, inputs first. */
export interface Walk {
  /** Extents of the outer axes, then of the inner ones. */
  readonly sizes: readonly number[];
  /** How many of the axes are outer ones. */
  readonly outerRank: number;
  /** Strides of every operand, in elements. */
  readonly strides: readonly (readonly number[])[];
}

/** Drops axes of extent 1 and joins neighbours of one kind that every operand walks without a break. */
export function mergeAxes(
  sizes: readonly number[],
  outerRank: number,
  strides: readonly (readonly number[])[],
): Walk {
  const outSizes: number[] = [];
  const outStrides: number[][] = strides.map(() => []);
  let outerCount = 0;
  for (let d = 0; d < sizes.length; d++) {
    if (sizes[d] === 1) continue;
    let last = outSizes.length - 1;
    const sameGroup = d < outerRank ? last >= 0 : last >= outerCount;
    if (sameGroup && joins(outStrides, last, strides, d, sizes[d])) {
      outSizes[last] *= sizes[d];
    } else {
      last = outSizes.push(sizes[d]) - 1;
      if (d < outerRank) outerCount = outSizes.length;
    }
    for (let i = 0; i < strides.length; i++) {
      outStrides[i][last] = strides[i][d];
    }
  }
  return { sizes: outSizes, outerRank: outerCount, strides: outStrides };
}

/** Whether every operand goes on along axis `d` where the last merged axis steps. */
function joins(
  merged: readonly (readonly number[])[],
  last: number,
  strides: readonly (readonly number[])[],
  d: number,
  size: number,
): boolean {
  for (let i = 0; i < strides.length; i++) {
    if (merged[i][last] !== strides[i][d] * size) return false;
  }
  return true;
}

/** The product of the extents from axis `from` to before axis `to`. */
export function product(
  sizes: readonly number[],
  from: number,
  to: number,
): number {
  let result = 1;
  for (let d = from; d < to; d++) result *= sizes[d];
  return result;
}
