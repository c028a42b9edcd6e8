/**
 * Updates that happen only while all is well, decided on the device: the host
 * need not wait for a loss before it asks for the update that follows from it.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import { withFlags } from "./checks.ts";
import type { Device } from "./device.ts";
import { keep } from "./memory.ts";
import { fromHost, Tensor } from "./tensor.ts";
import { gatedBy, update } from "./update.ts";
import type { Value } from "./value.ts";

/** Flags that one kernel looks at. */
const flagsAtOnce = 8;

/** A number on a device: 1 while all is well; once it is 0 it stays so. */
export class UpdateGate implements Disposable {
  /** The number, f32. */
  readonly open: Tensor;
  #flags: Value[] = [];

  /** Opens a gate. */
  constructor(device: Device) {
    const options = { device: device.name };
    this.open = keep(fromHost(Float32Array.of(1), "f32", [], options));
  }

  /** Runs `body`, whose checks of elements (of labels, say) shut the gate instead of being told. */
  watch<T>(body: () => T): T {
    return withFlags(this.#flags, body);
  }

  /** Shuts the gate unless a single element is finite and every check so far has held. */
  require(element: Tensor): void {
    const flags = this.#flags.splice(0);
    try {
      this.#narrow("gate of a loss", [element], (open, [x]) => {
        const wide = k.cast(x, "f32");
        return k.select(
          k.lt(k.abs(wide), Infinity),
          open,
          k.constant(0, "f32"),
        );
      });
      for (let i = 0; i < flags.length; i += flagsAtOnce) {
        const some = flags.slice(i, i + flagsAtOnce).map((flag) =>
          new Tensor(flag.retain())
        );
        try {
          this.#narrow(
            `gate of ${some.length} checks`,
            some,
            (open, given) =>
              given.reduce(
                (o, flag) => k.select(k.eq(flag, 0), o, k.constant(0, "f32")),
                open,
              ),
          );
        } finally {
          for (const flag of some) flag.dispose();
        }
      }
    } finally {
      for (const flag of flags) flag.release();
    }
  }

  #narrow(
    name: string,
    operands: readonly Tensor[],
    next: (open: k.Expr, operands: readonly k.Expr[]) => k.Expr,
  ): void {
    update({
      name,
      targets: [this.open],
      operands: operands.map((x) => x.materialize()),
      scalars: [],
      define: ([open], given) => [next(open, given)],
    });
  }

  /** Runs `body`, whose updates change nothing where the gate is shut. */
  during<T>(body: () => T): T {
    return gatedBy(this.open, body);
  }

  /** Frees the number. */
  [Symbol.dispose](): void {
    for (const flag of this.#flags.splice(0)) flag.release();
    this.open.dispose();
  }
}
