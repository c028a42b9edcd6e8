/**
 * The losses.
 *
 * @module
 */

export * from "./loss_regression.ts";
export * from "./loss_binary.ts";
export * from "./loss_classes.ts";
export * from "./loss_distributions.ts";
export * from "./loss_pairs.ts";
export * from "./loss_ctc.ts";
