/**
 * Exponential moving averages of parameters.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import { afterReplay, capturing } from "../core/capture.ts";
import { checkOptions } from "../core/options.ts";
import { persist } from "../core/scope.ts";
import { sameShape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { assign, type Update, updateAll } from "../core/update.ts";
import * as k from "../kernel/expr.ts";
import { fill, to } from "../ops/foundation.ts";
import { checkNumber, fraction } from "./hyper.ts";
import {
  gather,
  type NamedParameter,
  type ParameterSource,
} from "./parameters.ts";

/** Options of {@linkcode ema}. */
export interface AverageOptions {
  /** d: how much of the average stays at each update; 0.999 when omitted. */
  decay?: number;
  /** Start with less: d at update t is at most (1 + t)/(10 + t). */
  warmup?: boolean;
}

/** What an average remembers. */
export interface AverageState {
  /** Updates so far. */
  readonly updates: number;
  /** Averages by name of the parameter. */
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** The average of parameters over their past, a ← d·a + (1 − d)·w. */
export class ParameterAverage implements Disposable {
  /** Updates so far. */
  updates = 0;
  /** How much of the average stays at each update. */
  readonly decay: number;
  /** Whether the first updates keep less. */
  readonly warmup: boolean;
  readonly #parameters: readonly NamedParameter[];
  readonly #averages: readonly Tensor[];

  /**
   * Starts an average; {@linkcode ema} is shorter.
   *
   * @param parameters Tensors or a module; the averages start as copies of them.
   * @param options Decay and warm-up.
   */
  constructor(
    parameters: Iterable<Tensor> | ParameterSource,
    options: AverageOptions = {},
  ) {
    checkOptions("make an average", options, { decay: true, warmup: true });
    this.decay = checkNumber(
      "an average",
      "decay",
      options.decay ?? 0.999,
      fraction,
    );
    this.warmup = options.warmup ?? false;
    this.#parameters = gather("an average", parameters).flatMap((g) =>
      g.parameters
    );
    this.#averages = this.#parameters.map(({ tensor }) => {
      const copy = persist(fill(tensor.shape, 0, tensor.dtype, tensor.device));
      assign(copy.materialize(), tensor);
      return copy;
    });
  }

  /** Takes the present parameters into the averages. */
  update(): void {
    const factors = () => {
      const t = this.updates;
      const decay = this.warmup
        ? Math.min(this.decay, (1 + t) / (10 + t))
        : this.decay;
      return [decay, 1 - decay];
    };
    const scalars = factors();
    const live = capturing() ? factors : undefined;
    updateAll(
      this.#parameters.map(({ tensor }, i): Update => ({
        name: "parameter average",
        targets: [this.#averages[i]],
        operands: [tensor],
        scalars,
        live,
        // a ← d·a + (1 − d)·w
        define: ([a], [w], [d, rest]) => [k.add(k.mul(d, a), k.mul(rest, w))],
      })),
    );
    if (capturing()) afterReplay(() => this.updates++);
    else this.updates++;
  }

  /** Exchanges parameters and averages, without a copy; a second call exchanges them back. */
  swap(): void {
    this.#parameters.forEach(({ tensor }, i) => {
      const average = this.#averages[i];
      const value = tensor.value.retain();
      tensor.setValue(average.value.retain());
      average.setValue(value);
    });
  }

  /** Runs `body` with the averages in place of the parameters, for example an evaluation. */
  during<T>(body: () => T): T {
    this.swap();
    let result: T;
    try {
      result = body();
    } catch (error) {
      this.swap();
      throw error;
    }
    if (result instanceof Promise) {
      return result.finally(() => this.swap()) as T;
    }
    this.swap();
    return result;
  }

  /** The averages (no copies) and the number of updates. */
  stateDict(): AverageState {
    const tensors = Object.fromEntries(
      this.#parameters.map(({ name }, i) => [name, this.#averages[i]]),
    );
    return { updates: this.updates, tensors };
  }

  /**
   * Takes over saved averages.
   *
   * @throws {TypeError} when the average of a parameter is missing.
   * @throws {ShapeError} when one has another shape.
   */
  loadStateDict(saved: AverageState): void {
    const sources = this.#parameters.map(({ name, tensor }) => {
      const source = saved.tensors[name];
      if (source === undefined) {
        throw new TypeError(
          `Cannot load averages: that of parameter "${name}" is missing`,
        );
      }
      if (!sameShape(source.shape, tensor.shape)) {
        throw new ShapeError(
          `Cannot load the average of parameter "${name}": it has shape ${
            shapeText(source.shape)
          } and the parameter ${shapeText(tensor.shape)}`,
        );
      }
      return to(to(source, tensor.dtype), tensor.device.name);
    });
    sources.forEach((source, i) => assign(this.#averages[i], source));
    this.updates = saved.updates;
  }

  /** Frees the averages. The parameters are the caller's. */
  [Symbol.dispose](): void {
    for (const average of this.#averages) average.dispose();
  }
}

/**
 * An exponential moving average of parameters: call `update()` after each
 * step, and `during(() => evaluate())` to evaluate with the averages.
 *
 * @throws {RangeError} when the decay is not in [0, 1).
 */
export function ema(
  parameters: Iterable<Tensor> | ParameterSource,
  options: AverageOptions = {},
): ParameterAverage {
  return new ParameterAverage(parameters, options);
}
