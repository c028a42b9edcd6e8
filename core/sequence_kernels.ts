/**
 * Fast paths that a device may offer for sequences: recurrent networks whose
 * layers run at once, and attention that never stores its scores.
 *
 * @module
 */

import type { Block, Strided } from "./device.ts";
import type { DType } from "./dtype.ts";

/** Layers of one recurrent network that run at once. */
export interface RecurrentSpec {
  /** Kind of cells. */
  readonly kind: "lstm" | "gru" | "tanh" | "relu";
  /** Element type of everything but the lengths. */
  readonly dtype: DType;
  /** Time steps. */
  readonly steps: number;
  /** Sequences. */
  readonly batch: number;
  /** Elements of each input vector. */
  readonly features: number;
  /** Elements of each state. */
  readonly hidden: number;
  /** Layers on top of each other. */
  readonly layers: number;
  /** 2 where a second network reads backwards. */
  readonly directions: 1 | 2;
  /** Whether there are biases. */
  readonly bias: boolean;
  /** Whether inputs and outputs are [batch, time, …] instead of [time, batch, …]. */
  readonly batchFirst: boolean;
  /** Steps of each sequence. */
  readonly lengths: readonly number[];
  /** Whether a backward pass follows. */
  readonly training: boolean;
}

/** How a device wants the operands of a recurrent network. */
export interface RecurrentPlan {
  /** Elements of all weights packed in one block. */
  readonly packed: number;
  /** Where each weight starts in it, in elements: w_ih, w_hh (, b_ih, b_hh) of each layer and direction. */
  readonly offsets: readonly number[];
  /** Bytes that the forward pass keeps for the backward pass. */
  readonly reserve: number;
}

/** Operands of a pass through a recurrent network; all contiguous. */
export interface RecurrentOperands {
  /** Input. */
  readonly x: Block;
  /** Steps of each sequence [batch] (i32). */
  readonly lengths: Block;
  /** First hidden states [layers·directions, batch, hidden]; zeros when undefined. */
  readonly h0: Block | undefined;
  /** First cell states (lstm). */
  readonly c0: Block | undefined;
  /** Weights as the plan wants them. */
  readonly weights: Block;
  /** Outputs; zeros after the end of a sequence. */
  readonly y: Block;
  /** What the forward pass keeps; with `training` only. */
  readonly reserve: Block | undefined;
}

/** What a forward pass writes besides its outputs. */
export interface RecurrentResults {
  /** Last hidden states. */
  readonly hidden: Block;
  /** Last cell states (lstm). */
  readonly cell: Block | undefined;
}

/** What a backward pass reads and writes besides the operands of the forward pass. */
export interface RecurrentGradients {
  /** Of the outputs. */
  readonly dy: Block;
  /** Of the last hidden states; zeros when undefined. */
  readonly dhidden: Block | undefined;
  /** Of the last cell states; zeros when undefined. */
  readonly dcell: Block | undefined;
  /** Of the input; written within the sequences. */
  readonly dx: Block;
  /** Of the first hidden states; written. */
  readonly dh0: Block;
  /** Of the first cell states (lstm); written. */
  readonly dc0: Block | undefined;
  /** Of the packed weights, zeros before; undefined when not wanted. */
  readonly dweights: Block | undefined;
}

/** A device's own recurrent networks. */
export interface RecurrentKernels {
  /** How the device wants the operands; undefined when it leaves the case to the composed definition. */
  plan(spec: RecurrentSpec): RecurrentPlan | undefined;
  /** Runs a network that has a plan. */
  forward(
    spec: RecurrentSpec,
    operands: RecurrentOperands,
    results: RecurrentResults,
  ): void;
  /** Gradients of a network that was run with `training`. */
  backward(
    spec: RecurrentSpec,
    operands: RecurrentOperands,
    gradients: RecurrentGradients,
  ): void;
}

/** Geometry of attention: o = softmax(q·kᵀ·scale + bias)·v, all [batch, heads, time, width]. */
export interface AttentionSpec {
  /** Element type of q, k, v, o, their gradients and the dropout mask. */
  readonly dtype: DType;
  /** Extent of the first axis. */
  readonly batch: number;
  /** Heads of the queries. */
  readonly heads: number;
  /** Heads of keys and values; each serves heads / groups query heads. */
  readonly groups: number;
  /** Queries of each sequence. */
  readonly queries: number;
  /** Keys of each sequence. */
  readonly keys: number;
  /** Width of queries and keys. */
  readonly depth: number;
  /** Width of values and results. */
  readonly width: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Whether query i sees keys up to i only. */
  readonly causal: boolean;
  /** Extents of what is added to the scores (f32, contiguous), each 1 or that of the scores. */
  readonly bias: readonly [number, number, number, number] | undefined;
  /** Share of the weights that is dropped. */
  readonly dropout: number;
  /** Whether a backward pass follows. */
  readonly training: boolean;
}

/** Operands of attention, with one step per axis of [batch, heads, time, width]. */
export interface AttentionOperands {
  /** Queries. */
  readonly q: Strided;
  /** Keys. */
  readonly k: Strided;
  /** Values. */
  readonly v: Strided;
  /** What is added to the scores. */
  readonly bias: Strided | undefined;
  /** 1 where a weight is kept, 0 where it is dropped [batch, heads, queries, keys]; with dropout only. */
  readonly kept: Strided | undefined;
  /** Results. */
  readonly o: Strided;
  /** Logarithm of the sum of each row's exponentials (f32) [batch, heads, queries, 1]. */
  readonly stats: Strided;
}

/** What the backward pass of attention reads and writes besides. */
export interface AttentionGradients {
  /** Of the results. */
  readonly d: Strided;
  /** Of the queries; written. */
  readonly dq: Strided;
  /** Of the keys; written. */
  readonly dk: Strided;
  /** Of the values; written. */
  readonly dv: Strided;
}

/** Steps per axis of [batch, heads, time, width], in elements. */
export interface AttentionLayout {
  /** Of the queries. */
  readonly q: readonly number[];
  /** Of the keys. */
  readonly k: readonly number[];
  /** Of the values. */
  readonly v: readonly number[];
  /** Of the results. */
  readonly o: readonly number[];
}

/** Where gradients lie. */
export interface AttentionGradLayout extends AttentionLayout {
  /** Gradient of the results. */
  readonly d: readonly number[];
  /** Gradient of the queries. */
  readonly dq: readonly number[];
  /** Gradient of the keys. */
  readonly dk: readonly number[];
  /** Gradient of the values. */
  readonly dv: readonly number[];
}

/** A device's own attention. */
export interface AttentionKernels {
  /** Whether the device has kernels for operands that lie so, those of the backward pass included when `training`. */
  takes(spec: AttentionSpec, layout: AttentionGradLayout): boolean;
  /** Computes results and statistics; false where it does not take operands that lie so. */
  forward(spec: AttentionSpec, operands: AttentionOperands): boolean;
  /** Computes the gradients; false where it does not take operands that lie so. */
  backward(
    spec: AttentionSpec,
    operands: AttentionOperands,
    gradients: AttentionGradients,
  ): boolean;
}
