/**
 * Residual networks (He, Zhang, Ren and Sun, 2016) in torchvision's version,
 * whose parameter names and initialisation these are, so that its weights fit.
 *
 * @module
 */

import { checkOptions } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import * as nn from "../nn/mod.ts";
import "../ops/methods.ts";

/** Options of a {@linkcode ResNet}. */
export interface ResNetOptions {
  /** Channels of the pictures; 3 by default. */
  readonly channels?: number;
  /** Outputs; 1000 by default. */
  readonly classes?: number;
  /**
   * How pictures enter: `large` by a 7×7 filter of stride 2 and pooling, for
   * 224×224; `small` by a 3×3 filter, for pictures like CIFAR's 32×32.
   */
  readonly stem?: "large" | "small";
}

/** Filters without bias, padded so that only the stride changes the extent. */
function filters(from: number, to: number, kernel: number, stride = 1) {
  const padding = Math.floor(kernel / 2);
  return nn.conv2d(from, to, kernel, { stride, padding, bias: false });
}

/** What the input of a block must go through to be added to its output. */
function shortcut(from: number, to: number, stride: number) {
  return stride === 1 && from === to
    ? undefined
    : nn.sequential(filters(from, to, 1, stride), nn.batchNorm2d(to));
}

/** Two 3×3 filters beside a shortcut. */
export class BasicBlock extends nn.Module {
  /** Output channels per width. */
  static readonly expansion = 1;
  /** First filters. */
  readonly conv1: nn.Conv2d;
  /** Normalises their results. */
  readonly bn1: nn.BatchNorm2d;
  /** Second filters. */
  readonly conv2: nn.Conv2d;
  /** Normalises their results. */
  readonly bn2: nn.BatchNorm2d;
  /** What the input goes through, where the extents change. */
  readonly downsample: nn.Sequential | undefined;

  /** Makes a block of `width` channels. */
  constructor(from: number, width: number, stride: number) {
    super();
    this.conv1 = filters(from, width, 3, stride);
    this.bn1 = nn.batchNorm2d(width);
    this.conv2 = filters(width, width, 3);
    this.bn2 = nn.batchNorm2d(width);
    this.downsample = shortcut(from, width, stride);
  }

  /** relu(shortcut(x) + filters(x)). */
  override forward(x: Tensor): Tensor {
    const hidden = this.bn1.forward(this.conv1.forward(x)).relu();
    const out = this.bn2.forward(this.conv2.forward(hidden));
    return out.add(this.downsample?.forward(x) ?? x).relu();
  }
}

/** 1×1, 3×3 and 1×1 filters beside a shortcut. */
export class Bottleneck extends nn.Module {
  /** Output channels per width. */
  static readonly expansion = 4;
  /** First filters. */
  readonly conv1: nn.Conv2d;
  /** Normalises their results. */
  readonly bn1: nn.BatchNorm2d;
  /** Second filters. */
  readonly conv2: nn.Conv2d;
  /** Normalises their results. */
  readonly bn2: nn.BatchNorm2d;
  /** Third filters. */
  readonly conv3: nn.Conv2d;
  /** Normalises their results. */
  readonly bn3: nn.BatchNorm2d;
  /** What the input goes through, where the extents change. */
  readonly downsample: nn.Sequential | undefined;

  /** Makes a block of 4·`width` output channels. */
  constructor(from: number, width: number, stride: number) {
    super();
    const to = width * Bottleneck.expansion;
    this.conv1 = filters(from, width, 1);
    this.bn1 = nn.batchNorm2d(width);
    this.conv2 = filters(width, width, 3, stride);
    this.bn2 = nn.batchNorm2d(width);
    this.conv3 = filters(width, to, 1);
    this.bn3 = nn.batchNorm2d(to);
    this.downsample = shortcut(from, to, stride);
  }

  /** relu(shortcut(x) + filters(x)). */
  override forward(x: Tensor): Tensor {
    let out = this.bn1.forward(this.conv1.forward(x)).relu();
    out = this.bn2.forward(this.conv2.forward(out)).relu();
    out = this.bn3.forward(this.conv3.forward(out));
    return out.add(this.downsample?.forward(x) ?? x).relu();
  }
}

/** One of the two blocks. */
export type ResNetBlock = typeof BasicBlock | typeof Bottleneck;

/** x [N, channels, H, W] → scores [N, classes]. */
export class ResNet extends nn.Module {
  /** The filters of the stem. */
  readonly conv1: nn.Conv2d;
  /** Normalises their results. */
  readonly bn1: nn.BatchNorm2d;
  /** Blocks of 64 channels. */
  readonly layer1: nn.Sequential;
  /** Blocks of 128 channels, half as high and wide. */
  readonly layer2: nn.Sequential;
  /** Blocks of 256 channels. */
  readonly layer3: nn.Sequential;
  /** Blocks of 512 channels. */
  readonly layer4: nn.Sequential;
  /** The scores. */
  readonly fc: nn.Linear;
  readonly #large: boolean;

  /**
   * Makes the layers.
   *
   * @param block Kind of blocks.
   * @param counts Blocks in each of the four layers.
   * @param options Extents and stem.
   */
  constructor(
    block: ResNetBlock,
    counts: readonly [number, number, number, number],
    options: ResNetOptions = {},
  ) {
    super();
    checkOptions("make a ResNet", options, {
      channels: true,
      classes: true,
      stem: true,
    });
    const { channels = 3, classes = 1000, stem = "large" } = options;
    this.#large = stem === "large";
    this.conv1 = this.#large
      ? filters(channels, 64, 7, 2)
      : filters(channels, 64, 3);
    this.bn1 = nn.batchNorm2d(64);
    let from = 64;
    const [layer1, layer2, layer3, layer4] = counts.map((count, i) => {
      const width = 64 * 2 ** i;
      const blocks = Array.from({ length: count }, (_, j) => {
        const made = new block(from, width, i > 0 && j === 0 ? 2 : 1);
        from = width * block.expansion;
        return made;
      });
      return nn.sequential(...blocks);
    });
    this.layer1 = layer1;
    this.layer2 = layer2;
    this.layer3 = layer3;
    this.layer4 = layer4;
    this.fc = nn.linear(from, classes);
    for (const module of this.modules()) {
      if (module instanceof nn.Conv2d) {
        nn.init.kaimingNormal(module.weight, {
          mode: "fanOut",
          nonlinearity: "relu",
        });
      }
    }
  }

  /** x [N, channels, H, W] to scores [N, classes]. */
  override forward(x: Tensor): Tensor {
    x = this.bn1.forward(this.conv1.forward(x)).relu();
    if (this.#large) x = x.maxPool(3, { stride: 2, padding: 1 });
    x = this.layer1.forward(x);
    x = this.layer2.forward(x);
    x = this.layer3.forward(x);
    x = this.layer4.forward(x);
    return this.fc.forward(x.mean([2, 3]));
  }
}

/** 18 layers. */
export function resnet18(options: ResNetOptions = {}): ResNet {
  return new ResNet(BasicBlock, [2, 2, 2, 2], options);
}

/** 34 layers. */
export function resnet34(options: ResNetOptions = {}): ResNet {
  return new ResNet(BasicBlock, [3, 4, 6, 3], options);
}

/** 50 layers. */
export function resnet50(options: ResNetOptions = {}): ResNet {
  return new ResNet(Bottleneck, [3, 4, 6, 3], options);
}
