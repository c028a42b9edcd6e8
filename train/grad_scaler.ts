/**
 * Dynamic loss scaling: gradients in f16 would vanish below 6·10⁻⁸, so the
 * loss is multiplied by a large number first, and the gradients divided by it.
 * A step whose gradients overflowed is skipped, and the number halved.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { keep } from "../core/memory.ts";
import { checkOptions } from "../core/options.ts";
import { Scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Optimizer } from "../optim/mod.ts";
import { add, cast, mul, sum } from "../ops/functions.ts";

/** Options of {@linkcode GradScaler}; the defaults are PyTorch's. */
export interface GradScalerOptions {
  /** The first scale; 65536 when omitted. */
  initScale?: number;
  /** Factor after `growthInterval` good steps; 2 when omitted. */
  growthFactor?: number;
  /** Factor after a step that overflowed; 0.5 when omitted. */
  backoffFactor?: number;
  /** Good steps in a row after which the scale grows; 2000 when omitted. */
  growthInterval?: number;
}

/** Several optimizers that take a step together, as those of `dist.dataParallel` do. */
export interface OptimizerTeam {
  /** The optimizers. */
  readonly optimizers: readonly Optimizer[];
  /** Takes the step. */
  step(): void;
  /** Whether something holds here and in every other process that takes part, where there are others. */
  agree?(here: boolean): boolean;
}

/** What a later run needs to scale on exactly. */
export interface GradScalerState {
  /** The scale of the next step. */
  readonly scale: number;
  /** Good steps since the scale changed. */
  readonly goodSteps: number;
}

const defaults = {
  initScale: 65536,
  growthFactor: 2,
  backoffFactor: 0.5,
  growthInterval: 2000,
};

function checked(options: GradScalerOptions): Required<GradScalerOptions> {
  checkOptions("make a GradScaler", options, {
    initScale: true,
    growthFactor: true,
    backoffFactor: true,
    growthInterval: true,
  });
  const given = Object.entries(options).filter(([, x]) => x !== undefined);
  const all = { ...defaults, ...Object.fromEntries(given) };
  const fits = {
    initScale: all.initScale > 0 && all.initScale < Infinity,
    growthFactor: all.growthFactor > 1 && all.growthFactor < Infinity,
    backoffFactor: all.backoffFactor > 0 && all.backoffFactor < 1,
    growthInterval: Number.isInteger(all.growthInterval) &&
      all.growthInterval > 0,
  };
  const says = {
    initScale: "a positive number",
    growthFactor: "a number above 1",
    backoffFactor: "a number between 0 and 1",
    growthInterval: "a positive integer",
  };
  for (const name of Object.keys(fits) as (keyof typeof fits)[]) {
    if (fits[name]) continue;
    throw new RangeError(
      `Cannot scale gradients with ${name} ${all[name]}: it must be ${
        says[name]
      }`,
    );
  }
  return all;
}

/**
 * Scales losses, and takes optimizer steps with the gradients scaled back, as
 * PyTorch's `torch.amp.GradScaler`. Scales are powers of two by default, so
 * scaling changes no bit of a gradient that neither overflows nor vanishes.
 *
 * @example
 * ```ts
 * import { autocast, nn, ones, optim, train } from "@decaf/decaf";
 *
 * const model = nn.linear(4, 1);
 * const optimizer = optim.sgd(model, { lr: 0.1 });
 * const scaler = new train.GradScaler({ initScale: 1024 });
 * const loss = autocast("f16", () => model.forward(ones([2, 4])).sum());
 * optimizer.zeroGrad();
 * scaler.scale(loss).backward();
 * if (!scaler.step(optimizer)) throw new Error("nothing overflowed");
 * if (scaler.state().goodSteps !== 1) throw new Error("one good step");
 * ```
 */
export class GradScaler {
  readonly #options: Required<GradScalerOptions>;
  #scale: number;
  #goodSteps = 0;

  /**
   * Starts with the first scale.
   *
   * @throws {RangeError} for options out of their ranges.
   */
  constructor(options: GradScalerOptions = {}) {
    this.#options = checked(options);
    this.#scale = this.#options.initScale;
  }

  /** The number that losses are multiplied by. */
  get factor(): number {
    return this.#scale;
  }

  /** The loss, in f32 at least, times the scale. */
  scale(loss: Tensor): Tensor {
    const wide = loss.dtype === "f16" || loss.dtype === "bf16"
      ? cast(loss, "f32")
      : loss;
    return mul(wide, this.#scale);
  }

  /**
   * Divides the gradients by the scale, takes the optimizer's step unless one
   * of them is infinite or NaN, and adapts the scale. Waits for one number
   * from the device. A step that is skipped leaves parameters, optimizer state
   * and iteration as they were; it is skipped in all processes of a team, or in none.
   *
   * @returns Whether the step was taken.
   */
  step(optimizer: Optimizer | OptimizerTeam): boolean {
    const team: OptimizerTeam = "optimizers" in optimizer
      ? optimizer
      : { optimizers: [optimizer], step: () => optimizer.step() };
    const finite = this.#unscale(team.optimizers);
    const good = team.agree?.(finite) ?? finite;
    if (good) team.step();
    this.update(good);
    return good;
  }

  /** Adapts the scale after a step: `good` says whether all gradients were finite. */
  update(good: boolean): void {
    const { growthFactor, backoffFactor, growthInterval } = this.#options;
    if (!good) {
      const smaller = Math.fround(this.#scale * backoffFactor);
      // From 0 no growth leads back, nor could a checkpoint of it be resumed.
      if (Number.isFinite(Math.fround(1 / smaller))) this.#scale = smaller;
      this.#goodSteps = 0;
      return;
    }
    if (++this.#goodSteps < growthInterval) return;
    this.#goodSteps = 0;
    const larger = Math.fround(this.#scale * growthFactor);
    if (Number.isFinite(larger)) this.#scale = larger;
  }

  /** Divides every gradient by the scale; answers whether all are finite. */
  #unscale(optimizers: readonly Optimizer[]): boolean {
    return noGrad(() => {
      using _unscaling = new Scope();
      // All are queued before the host waits for the first.
      const totals = optimizers.map((o) => this.#unscaleOne(o)?.materialize());
      return totals.every((t) => t === undefined || t.item() === 0);
    });
  }

  /** Divides the gradients of an optimizer; 0 where all are finite, else NaN. */
  #unscaleOne(optimizer: Optimizer): Tensor | undefined {
    const inverse = Math.fround(1 / this.#scale);
    let total: Tensor | undefined;
    for (const { parameters } of optimizer.groups) {
      for (const { tensor } of parameters) {
        const { grad } = tensor;
        if (grad === undefined) continue;
        const unscaled = keep(mul(grad, inverse)).materialize();
        tensor.grad = unscaled;
        grad.dispose();
        const check = cast(sum(mul(unscaled, 0)), "f32");
        total = total === undefined ? check : add(total, check);
      }
    }
    return total;
  }

  /** What a checkpoint keeps. */
  state(): GradScalerState {
    return { scale: this.#scale, goodSteps: this.#goodSteps };
  }

  /**
   * Goes on from a saved state.
   *
   * @throws {RangeError} when it is none.
   */
  restore({ scale, goodSteps }: GradScalerState): void {
    if (!(scale > 0) || !Number.isInteger(goodSteps) || goodSteps < 0) {
      throw new RangeError(
        `Cannot restore a scale of ${scale} after ${goodSteps} good steps: the first must be positive, the second an integer from 0 on`,
      );
    }
    this.#scale = scale;
    this.#goodSteps = goodSteps;
  }
}
