/**
 * Batches: as few calls as the strides allow. Axes along which all operands
 * step evenly become one; a right factor that repeats makes rows of the batch;
 * of what remains the longest axis goes into the call, and the others are
 * walked.
 *
 * @module
 */

/** One axis of a batch: its extent, and the steps of a, b and c in elements. */
export interface BatchAxis {
  /** Matrices along the axis. */
  readonly extent: number;
  /** Step of the left factor. */
  readonly a: number;
  /** Step of the right factor. */
  readonly b: number;
  /** Step of the result. */
  readonly c: number;
}

/** A batch after merging. */
export interface Batch {
  /** Rows of one product; more than were asked for where axes became rows. */
  readonly rows: number;
  /** The axis that goes into the call. */
  readonly inner: BatchAxis;
  /** Axes that are walked, one call for each position. */
  readonly outer: readonly BatchAxis[];
}

const single: BatchAxis = { extent: 1, a: 0, b: 0, c: 0 };

/** The steps of the three operands along the batch axes, and those between rows. */
export interface BatchSteps {
  /** Extents of the batch axes. */
  readonly shape: readonly number[];
  /** Steps of the left factor. */
  readonly a: readonly number[];
  /** Steps of the right factor. */
  readonly b: readonly number[];
  /** Steps of the result. */
  readonly c: readonly number[];
  /** Rows of one product. */
  readonly rows: number;
  /** Step between rows of the left factor, 0 where its rows do not lie side by side. */
  readonly rowA: number;
  /** Step between rows of the result. */
  readonly rowC: number;
}

/** Merges the axes of a batch. */
export function mergeBatch(steps: BatchSteps): Batch {
  const { shape, rowA, rowC } = steps;
  let { rows } = steps;
  const axes: BatchAxis[] = [];
  for (let d = shape.length - 1; d >= 0; d--) {
    const axis = {
      extent: shape[d],
      a: steps.a[d],
      b: steps.b[d],
      c: steps.c[d],
    };
    if (axis.extent === 1) continue;
    const last = axes.at(-1);
    if (
      last === undefined && axis.b === 0 && rowA > 0 &&
      axis.a === rows * rowA && axis.c === rows * rowC
    ) {
      rows *= axis.extent;
    } else if (
      last !== undefined && axis.a === last.extent * last.a &&
      axis.b === last.extent * last.b && axis.c === last.extent * last.c
    ) {
      axes[axes.length - 1] = { ...last, extent: last.extent * axis.extent };
    } else axes.push(axis);
  }
  let longest = -1;
  axes.forEach((axis, i) => {
    const forward = axis.a >= 0 && axis.b >= 0 && axis.c >= 0; // the library steps no other way
    if (forward && axis.extent > (axes[longest]?.extent ?? 0)) longest = i;
  });
  if (longest < 0) return { rows, inner: single, outer: axes };
  return { rows, inner: axes[longest], outer: axes.toSpliced(longest, 1) };
}

/** Calls `visit` with the offsets of a, b and c at every position of the axes. */
export function walk(
  axes: readonly BatchAxis[],
  visit: (a: number, b: number, c: number) => void,
): void {
  const at = (d: number, a: number, b: number, c: number): void => {
    if (d < 0) return visit(a, b, c);
    const axis = axes[d];
    for (let i = 0; i < axis.extent; i++) {
      at(d - 1, a + i * axis.a, b + i * axis.b, c + i * axis.c);
    }
  };
  at(axes.length - 1, 0, 0, 0);
}
