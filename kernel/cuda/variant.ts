/**
 * How a program is specialised before its sizes are known.
 *
 * @module
 */

/** How an operand moves along the axis of vectors. */
export type Step =
  /** It is one element for all. */
  | "fixed"
  /** It is one element for all of a row (or along the axis of vectors). */
  | "row"
  /** Neighbours follow each other. */
  | "unit"
  /** Anything else. */
  | "any";

/** Threads of a block of an elementwise kernel. */
export const elementThreads = 256;

/** A kernel without reductions: every element by itself. */
export interface ElementVariant {
  /** Kind of kernel. */
  readonly kind: "elements";
  /** Axes, the last of which is the axis of vectors. */
  readonly rank: number;
  /** Per operand, inputs first. */
  readonly steps: readonly Step[];
  /** Elements that a thread takes at once. */
  readonly lanes: number;
  /** Whether the last vector may be cut short (of a single axis only). */
  readonly ragged: boolean;
  /** Whether one kernel does many launches, each with parameters and blocks of its own. */
  readonly many?: boolean;
  /** Whether indices are 64 bits wide. */
  readonly wide: boolean;
}

/** A kernel that reduces rows. */
export interface RowVariant {
  /** Kind of kernel. */
  readonly kind: "rows";
  /** Outer axes, the axis of pieces included. */
  readonly outerRank: number;
  /** Inner axes. */
  readonly innerRank: number;
  /** Per operand, inputs first. */
  readonly steps: readonly Step[];
  /** Neighbouring elements that a thread takes at once. */
  readonly lanes: number;
  /** Whether a row's last vector may be cut short. */
  readonly ragged: boolean;
  /** Whether indices are 64 bits wide. */
  readonly wide: boolean;
  /** Whether neighbouring threads walk along a row, or neighbouring rows. */
  readonly order: "row" | "column";
  /** Threads that share a row; a power of two. */
  readonly team: number;
  /** Threads of a block. */
  readonly block: number;
  /** Vectors of a row that each thread keeps in registers between walks; 0 where rows are read again. */
  readonly chunks: number;
  /** Whether operands that several walks read wait in shared memory, as the rows are too long for registers. */
  readonly shared: boolean;
  /** Whether the first outer axis counts pieces of rows. */
  readonly pieces: boolean;
}

/** How a program is specialised. */
export type Variant = ElementVariant | RowVariant;
