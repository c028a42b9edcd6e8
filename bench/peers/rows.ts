/**
 * The rows of the comparison: what Decaf and its peers are timed on. A bench of
 * Decaf's and a peer's line belong to a row when they have its name.
 */

/** One row of the table. */
export interface Row {
  /** What benches and peers call it. */
  name: string;
  /** What is computed, with shapes. */
  doc: string;
  /** Milliseconds (median, 2 cores) that Decaf must reach. */
  must: number;
  /** Milliseconds that Decaf aims at. */
  aim: number;
  /** Floating-point operations, where GFLOP/s say more than milliseconds. */
  flops?: number;
}

const MATMUL = 2 * 1024 ** 3;

/** All rows, in the order of the table. */
export const rows: readonly Row[] = [
  {
    name: "matmul 1024, 1 thread",
    doc: "1024×1024 by 1024×1024",
    must: MATMUL / 42e6,
    aim: MATMUL / 50e6,
    flops: MATMUL,
  },
  {
    name: "matmul 1024, 2 threads",
    doc: "1024×1024 by 1024×1024",
    must: MATMUL / 80e6,
    aim: MATMUL / 98e6,
    flops: MATMUL,
  },
  {
    name: "conv forward",
    doc: "16×32×28×28, 64 filters 3×3, padding 1",
    must: 6,
    aim: 3,
  },
  {
    name: "conv forward+backward",
    doc: "the same and the gradients of input and filters",
    must: 18,
    aim: 10,
  },
  {
    name: "softmax 1024x1024",
    doc: "over the rows of a 1024×1024 matrix",
    must: 0.8,
    aim: 0.4,
  },
  {
    name: "gelu(x*w+b) 1M",
    doc: "three vectors of 1,048,576",
    must: 0.8,
    aim: 0.5,
  },
  {
    name: "mlp step",
    doc: "784-256-10 with relu, batch 128, cross entropy, SGD step",
    must: 2.2,
    aim: 1.4,
  },
  {
    name: "lenet step",
    doc: "Caffe's LeNet, batch 64, cross entropy, momentum step",
    must: 16,
    aim: 10,
  },
  {
    name: "lstm forward+backward",
    doc: "batch 32, 64 steps, 64 → 256",
    must: 80,
    aim: 45,
  },
  {
    name: "transformer forward+backward",
    doc: "4 layers, width 128, 4 heads, context 64, batch 12, vocabulary 65",
    must: 80,
    aim: 50,
  },
  {
    name: "add 32 floats x1000",
    doc: "1,000 chained additions, the last result read",
    must: 2.5,
    aim: 1,
  },
  {
    name: "import to first result",
    doc: "a new process: import mod.ts, add two tensors, read the result",
    must: 150,
    aim: 60,
  },
];
