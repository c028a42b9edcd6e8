/**
 * Error classes and the small helpers that word their sentences.
 *
 * @module
 */

/** Shapes do not fit an operation. */
export class ShapeError extends TypeError {
  /** Name of the class, as shown in stack traces. */
  override name = "ShapeError";
}

/** An element type does not fit an operation. */
export class DTypeError extends TypeError {
  /** Name of the class, as shown in stack traces. */
  override name = "DTypeError";
}

/** An index, axis or option is out of its range. */
export class IndexError extends RangeError {
  /** Name of the class, as shown in stack traces. */
  override name = "IndexError";
}

/** A gradient was asked for that cannot be computed. */
export class GradientError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "GradientError";
}

/** A tensor or other owner of memory was used after it was released. */
export class DisposedError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "DisposedError";
}

/** The memory of a device that had too little. */
export interface MemoryRoom {
  /** Bytes that were free, in however many pieces. */
  readonly freeBytes: number;
  /** Bytes that neither tensors held nor were free, by what is said of them: `are held by captured graphs`. */
  readonly others: Readonly<Record<string, number>>;
}

/** A device has no memory left for a tensor. */
export class OutOfMemoryError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "OutOfMemoryError";
  /** What the device knew of its memory then. */
  readonly room: MemoryRoom | undefined;

  /** Makes an error from a sentence; `room` is what the device knows. */
  constructor(
    message?: string,
    options?: ErrorOptions & { readonly room?: MemoryRoom },
  ) {
    super(message, options);
    this.room = options?.room;
  }
}

/** Work was captured, or run again, that a graph would silently get wrong. */
export class GraphError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "GraphError";
}

/** A device stopped working in the middle of a program, and answers no more. */
export class DeviceLostError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "DeviceLostError";
}

/** Prints a shape the way error sentences show it: `[2, 3]`. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/** The candidate nearest to `word` by edit distance, or undefined when none is near. */
export function nearest(
  word: string,
  candidates: Iterable<string>,
): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      current[j] = Math.min(previous[j] + 1, current[j - 1] + 1, substitute);
    }
    previous = current;
  }
  return previous[b.length];
}
