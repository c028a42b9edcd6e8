/** The calls that only one side takes, and why: what `deno task edges --refusals` knows of. */

import type { RefusalRule } from "./rules.ts";

/** Rules by who refuses, and what the sentence says. */
export const refusals: readonly RefusalRule[] = [
  {
    name: "float operands",
    refuses: "Decaf",
    says:
      /must be one floating-point type|both must have one floating-point type/,
    why: "Products, convolutions and linear maps of integers: cast first",
    operators:
      "bilinear conv convActivation convTranspose feedForward linear linearActivation scaledMatmul",
  },
  {
    name: "dtype of an operand",
    refuses: "Decaf",
    says:
      /of (a tensor of )?dtype \w+: it takes |into a tensor of dtype \w+: it takes |by a tensor of dtype u8: it takes bool/,
    why:
      "The operator takes the dtypes that it names; PyTorch truncates, wraps or reads the bytes",
    operators:
      "cosineEmbeddingLoss embedding fromFp8 gather indexFill interpolate localResponseNorm oneHot placeAt scatter scatterAdd toFp8 tripletMarginLoss where",
  },
  {
    name: "fractions into integers",
    refuses: "Decaf",
    says: /Cannot fill a tensor of dtype \w+ with .*: give an integer/,
    why: "PyTorch cuts the number off",
    operators: "maskedFill",
  },
  {
    name: "products of truth values",
    refuses: "Decaf",
    says: /Cannot multiply matrices of dtype bool/,
    why:
      "Truth values have no sum: cast first; PyTorch's CPU takes matrices without elements only",
    operators: "batchMatmul",
  },
  {
    name: "bounds",
    refuses: "Decaf",
    says:
      /index -?\d+ is out of range|they must lie within its|windows of .* must fit into/,
    why: "What lies outside the tensor is refused",
    operators: "indexFill overlapAdd unpadSequence",
  },
  {
    name: "empty images",
    refuses: "Decaf",
    says: /spatial extents must be at least/,
    why:
      "There is no mean of no positions; PyTorch refuses too, but for size 1, which it makes a mean: NaN",
    operators: "adaptiveAvgPool",
  },
  {
    name: "states of another size",
    refuses: "Decaf",
    says: /with a state of shape/,
    why:
      "PyTorch's functional form does not compare the weights with states of size 1",
    operators: "lstm",
  },
  {
    name: "no kernel",
    refuses: "PyTorch",
    says:
      /not \w+ed for|topk does not support|argm(ax|in)\(\): does not support|nanmean\(\): expected input|mean\(\): could not infer|Integral inputs not supported|expected scalar type|to have one of the following scalar types|did not match|result type .* can't be cast|Only Tensors of floating point/,
    why:
      "PyTorch's CPU has no kernel for the dtype or the mixture; Decaf converts",
    operators:
      "adaptiveAvgPool adaptiveMaxIndices adaptiveMaxPool argMax argMin avgPool avgPoolGrad bucketize celu ctcLoss dot elu fold frac gaussianNllLoss gelu glu hardShrink hardSwish hingeEmbeddingLoss huberLoss hypot interpolate isClose klDiv kthValue l1Loss leakyRelu lerp localResponseNorm logSigmoid logaddexp logaddexp2 lpPool median mish mseLoss multiMarginLoss nanMean pad prelu scatterReduce searchSorted selu silu smoothL1Loss softMarginLoss softShrink softplus softsign sparseLengthsSum swiglu topK unfold",
  },
  {
    name: "truth values",
    refuses: "PyTorch",
    says: /Subtraction, the `-` operator|Negation, the `-` operator/,
    why:
      "PyTorch does not subtract truth values; Decaf takes them as 0 and 1 where the operator converts to floats",
    operators:
      "atan2 hingeEmbeddingLoss l1Loss logaddexp logaddexp2 marginRankingLoss poissonNllLoss pow softMarginLoss squaredL2Distance tanhShrink",
  },
  {
    name: "gradient of a target",
    refuses: "PyTorch",
    says: /is not differentiable with respect to argument/,
    why: "Decaf differentiates targets and weights too",
    operators:
      "batchNorm binaryCrossEntropy binaryCrossEntropyWithLogits crossEntropy multiMarginLoss nllLoss softMarginLoss",
  },
  {
    name: "division by 0",
    refuses: "PyTorch",
    says: /ZeroDivisionError|the process died/,
    why:
      "Integers divided by 0 give 0; i32's least number divided by −1 ends PyTorch's process",
    operators: "floorDivide fmod gridSample remainder truncDivide",
  },
  {
    name: "integer division",
    refuses: "PyTorch",
    says: /Integer division with addcdiv/,
    why: "Decaf divides as floats",
    operators: "addcdiv",
  },
  {
    name: "values checked",
    refuses: "PyTorch",
    says:
      /all elements of (input|target) should be between|var has negative entry/,
    why:
      "PyTorch checks values on the CPU; Decaf gives what the formula gives, NaN where it has none",
    operators: "binaryCrossEntropy gaussianNllLoss",
  },
  {
    name: "out of range",
    refuses: "PyTorch",
    says: /value cannot be converted to type|outside the representable range/,
    why: "A number beyond the dtype is wrapped or limited as in a tensor of it",
    operators: "addcmul clamp maskedFill pad threshold thresholdedRelu",
  },
  {
    name: "no elements",
    refuses: "PyTorch",
    says:
      /Expected (\dD or \dD|HxW|number of channels|more than|\dD)|non-zero size|must be positive|narrow\(\): length|because the unspecified dimension|invalid gradient at index|pixel_shuffle expects|self.stride\(-1\) must be|Mismatch in shape/,
    why:
      "PyTorch's kernels or their gradients refuse a shape, mostly one without elements, that has an answer",
    operators:
      "adaptiveAvgPool adaptiveMaxIndices adaptiveMaxPool avgPool avgPoolGrad channelShuffle constantPad depthToSpace diag diagEmbed diagonal fold groupNorm index instanceNorm lpPool maxPool maxPoolWithIndices pad pixelShuffle pixelUnshuffle scatter scatterAdd select spaceToDepth unfold",
  },
];
