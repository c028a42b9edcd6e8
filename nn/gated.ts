/**
 * Activations with learned slopes, and gates.
 *
 * @module
 */

import type { Tensor } from "../core/tensor.ts";
import { glu as gate, prelu as sloped } from "../ops/gated.ts";
import { filled } from "./allocate.ts";
import { Functional } from "./containers.ts";
import {
  checkCall,
  checkExtents,
  checkNames,
  moduleNames,
  show,
} from "./extents.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of {@linkcode prelu}. */
export interface PReLUOptions extends ModuleOptions {
  /** Slopes: 1 for all, or one per channel; 1 when omitted. */
  count?: number;
  /** First slope; 0.25 when omitted. */
  initial?: number;
}

/** x where positive, a trained slope times x elsewhere. Parameter: `weight` [count]. */
export class PReLU extends Module {
  /** The slopes. */
  readonly weight: Tensor;

  /** Makes slopes. @throws {RangeError} when their number is no positive whole number. */
  constructor(options: PReLUOptions = {}) {
    super();
    checkNames("a PReLU", options, {
      ...moduleNames,
      count: true,
      initial: true,
    });
    const { count = 1, initial = 0.25 } = options;
    checkExtents("a PReLU", { count });
    this.weight = parameter(filled([count], initial, options));
  }

  /** Applies the slopes to axis 1, or one slope everywhere. */
  override forward(x: Tensor): Tensor {
    return sloped(x, this.weight);
  }

  /** How many slopes. */
  protected override details(): string {
    return show({ count: this.weight.size });
  }
}

/** A {@linkcode PReLU}. @throws {RangeError} when the number of slopes is no positive whole number. */
export function prelu(options: PReLUOptions = {}): PReLU {
  return new PReLU(options);
}

/** a·σ(b) of the two halves along an axis, the last when omitted. */
export function glu(axis = -1): Functional {
  checkCall("GLU", { operator: gate, args: { axis } });
  return new Functional("GLU", (x) => gate(x, axis), show({ axis }));
}
