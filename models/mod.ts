/**
 * The model zoo.
 *
 * @module
 */

export { CharRnn, charRnn, type CharRnnOptions } from "./char_rnn.ts";
export { Gpt, gpt, type GptOptions } from "./gpt.ts";
export {
  type LanguageModel,
  type Reader,
  sample,
  type SampleOptions,
} from "./language.ts";
export { LeNet, lenet, type LeNetOptions } from "./lenet.ts";
export { Mlp, mlp, type MlpOptions } from "./mlp.ts";
export {
  BasicBlock,
  Bottleneck,
  ResNet,
  resnet18,
  resnet34,
  resnet50,
  type ResNetBlock,
  type ResNetOptions,
} from "./resnet.ts";
