/**
 * The rows of the comparison on a GPU: what Decaf and PyTorch are timed on, in
 * the order in which they are measured (the most telling first).
 */

/** One row of the report. */
export interface GpuRow {
  /** What both sides call it. */
  readonly name: string;
  /** What is computed, with shapes. */
  readonly doc: string;
  /** How many times as fast as PyTorch (or its row `against`) Decaf must be. */
  readonly target: number;
  /** The rows of PyTorch's that it is compared with; the one of its own name when omitted. */
  readonly against?: readonly {
    readonly row: string;
    readonly target: number;
  }[];
  /** Bytes that must move at least, for rows that memory limits. */
  readonly bytes?: number;
  /** Floating-point operations, for rows that arithmetic limits. */
  readonly flops?: number;
  /** Examples or tokens of one run, for rows that are told as a rate. */
  readonly items?: { readonly count: number; readonly unit: string };
  /** Microseconds of the host per operator that it must not take more than. */
  readonly hostMicroseconds?: number;
}

/** Extents, smaller where only the command itself is tried. */
export interface Extents {
  readonly chain: number;
  readonly vector: number;
  readonly rows: number;
  readonly columns: number;
  readonly matmul: number;
  readonly batched: { readonly count: number; readonly size: number };
  readonly convBatch: number;
  /** Divides the heights and widths of the convolutions. */
  readonly convShrink: number;
  readonly attention: {
    readonly batch: number;
    readonly heads: number;
    readonly time: number;
    readonly width: number;
  };
  readonly images: { readonly batch: number; readonly size: number };
  readonly gpt: {
    readonly layers: number;
    readonly heads: number;
    readonly width: number;
    readonly vocabulary: number;
    readonly context: number;
    readonly batch: number;
  };
}

/** What the table in the report is about. */
export const full: Extents = {
  chain: 1000,
  vector: 64 * 2 ** 20,
  rows: 8192,
  columns: 4096,
  matmul: 8192,
  batched: { count: 512, size: 128 },
  convBatch: 64,
  convShrink: 1,
  attention: { batch: 4, heads: 16, time: 2048, width: 64 },
  images: { batch: 128, size: 224 },
  gpt: {
    layers: 12,
    heads: 12,
    width: 768,
    vocabulary: 50304,
    context: 1024,
    batch: 8,
  },
};

/** Enough to see that everything runs, without a GPU. */
export const tiny: Extents = {
  chain: 20,
  vector: 4096,
  rows: 16,
  columns: 64,
  matmul: 48,
  batched: { count: 3, size: 16 },
  convBatch: 1,
  convShrink: 14,
  attention: { batch: 1, heads: 2, time: 16, width: 8 },
  images: { batch: 2, size: 32 },
  gpt: {
    layers: 1,
    heads: 2,
    width: 16,
    vocabulary: 64,
    context: 16,
    batch: 1,
  },
};

/** A convolution of ResNet-50: channels, extent of the input, filter, stride. */
export interface ConvLayer {
  readonly from: number;
  readonly to: number;
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
}

/** The different convolutions of ResNet-50, one of each kind and stage. */
export const convLayers: readonly ConvLayer[] = [
  { from: 64, to: 64, size: 56, kernel: 3, stride: 1 },
  { from: 64, to: 256, size: 56, kernel: 1, stride: 1 },
  { from: 128, to: 128, size: 28, kernel: 3, stride: 1 },
  { from: 512, to: 128, size: 28, kernel: 1, stride: 1 },
  { from: 256, to: 256, size: 14, kernel: 3, stride: 1 },
  { from: 512, to: 512, size: 7, kernel: 3, stride: 1 },
  { from: 256, to: 256, size: 28, kernel: 3, stride: 2 },
  { from: 3, to: 64, size: 224, kernel: 7, stride: 2 },
];

/** The name of a convolution's row. */
export function convName(
  { from, to, size, kernel, stride }: ConvLayer,
): string {
  return `conv ${from}→${to} ${kernel}×${kernel}/${stride} at ${size}`;
}

/** All rows, for extents. */
export function gpuRows(e: Extents): GpuRow[] {
  const { vector, rows, columns, matmul: n, batched, attention: a } = e;
  const compiled = (name: string) => [
    { row: `${name}, torch.compile`, target: 1 },
    { row: name, target: 1 },
  ];
  const matrix = 4 * rows * columns;
  const square = 2 * n ** 3;
  const conv = (layer: ConvLayer): GpuRow => {
    const out = Math.ceil(Math.ceil(layer.size / e.convShrink) / layer.stride);
    const { from, to, kernel } = layer;
    return {
      name: convName(layer),
      doc: `bf16, channels last, batch ${e.convBatch}, forward and backward`,
      target: 1,
      // Forward, and both gradients.
      flops: 3 * 2 * e.convBatch * out * out * from * to * kernel ** 2,
    };
  };
  return [
    {
      name: "chain of additions",
      doc:
        `${e.chain} additions of 1,024 f32, none fused; host time per operator`,
      target: 2,
      hostMicroseconds: 2.5,
    },
    {
      name: "copy",
      doc: `${vector} f32, the bandwidth that others are measured by`,
      target: 0.98,
      bytes: 8 * vector,
    },
    {
      name: "gelu(x*w+b)",
      doc: `${vector} f32, one fused kernel`,
      target: 1,
      against: compiled("gelu(x*w+b)"),
      bytes: 16 * vector,
    },
    {
      name: "softmax",
      doc: `rows of ${rows}×${columns} f32`,
      target: 1,
      against: compiled("softmax"),
      bytes: 2 * matrix,
    },
    {
      name: "layer norm",
      doc: `rows of ${rows}×${columns} f32`,
      target: 1,
      against: compiled("layer norm"),
      bytes: 2 * matrix,
    },
    ...["bf16", "tf32", "f32"].map((type): GpuRow => ({
      name: `matmul ${type}`,
      doc: `${n}×${n} by ${n}×${n}`,
      target: 0.98,
      flops: square,
    })),
    ...["bf16", "f32"].map((type): GpuRow => ({
      name: `batched matmul ${type}`,
      doc: `${batched.count} of ${batched.size}×${batched.size}`,
      target: 0.98,
      flops: 2 * batched.count * batched.size ** 3,
    })),
    ...["bf16", "f32"].map((type): GpuRow => ({
      name: type === "bf16" ? "attention" : `attention ${type}`,
      doc:
        `${type}, causal, batch ${a.batch}, ${a.heads} heads, T ${a.time}, d ${a.width}, forward and backward`,
      target: 1,
      // Two products forward, five backward, half of each masked.
      flops: 7 * a.batch * a.heads * a.time ** 2 * a.width,
    })),
    {
      name: "mlp step, graph",
      doc: "784-256-10, batch 128, f32, SGD step as a CUDA graph",
      target: 1,
      against: [{ row: "mlp step", target: 1.5 }, {
        row: "mlp step, graph",
        target: 1,
      }],
    },
    {
      name: "lenet step, graph",
      doc: "Caffe's LeNet, batch 64, f32, momentum step as a CUDA graph",
      target: 1,
      against: [{ row: "lenet step", target: 1.5 }, {
        row: "lenet step, graph",
        target: 1,
      }],
    },
    { name: "mlp step", doc: "the same, eager", target: 1 },
    { name: "lenet step", doc: "the same, eager", target: 1 },
    ...convLayers.map(conv),
    {
      name: "resnet50 training",
      doc:
        `bf16, channels last, batch ${e.images.batch} of ${e.images.size}×${e.images.size}`,
      target: 1,
      items: { count: e.images.batch, unit: "img/s" },
    },
    {
      name: "gpt2 training",
      doc:
        `124 M parameters, bf16, batch ${e.gpt.batch} of ${e.gpt.context} tokens, AdamW`,
      target: 1,
      items: { count: e.gpt.batch * e.gpt.context, unit: "tok/s" },
    },
  ];
}
