/**
 * Which f32 numbers are NaN, infinite, or so large that sums of a few products
 * overflow. Minimal filtering and zeros between gradients spread such numbers
 * to results that they have no part in, so other ways are taken where they occur.
 *
 * @module
 */

import {
  type FunctionBuilder,
  ModuleBuilder,
} from "../../kernel/wasm/assembler.ts";
import {
  advance,
  bits32,
  type Emit,
  loadParameters,
  loopWhileBelow,
  repeat,
  setMin,
} from "./emit.ts";
import { heap, memoryLimits } from "./memory.ts";
import {
  cachedKernel,
  type CpuKernel,
  createKernel,
  runKernel,
} from "./pool.ts";
import { ParameterBlock } from "./scratch.ts";

/** The bits of 2¹⁰⁰: numbers from there on are wild, and so are ∞ and NaN, whose bits are larger. */
const bound = (127 + 100) << 23 >>> 0;

/** Code that looks for wild numbers on the way through a loop. */
export class Watch {
  readonly #f: FunctionBuilder;
  readonly #largest: number;

  /** Declares what the largest magnitude is kept in. */
  constructor(f: FunctionBuilder) {
    this.#f = f;
    this.#largest = f.local("v128");
  }

  /** Looks at four numbers that `push` pushes; less than four with zeros. */
  see(push: Emit): void {
    const f = this.#f;
    push();
    bits32(f, 0x7fff_ffff).op("v128.and").get(this.#largest);
    f.op("i32x4.max_u").set(this.#largest);
  }

  /** Stores 1 at the address that `flag` pushes, if a wild number was seen. */
  tell(flag: Emit): void {
    const f = this.#f;
    bits32(f.get(this.#largest), bound).op("i32x4.ge_u").op("v128.any_true");
    f.if(() => {
      flag();
      f.i32(1).store("i32.store");
    });
  }
}

/** A word that kernels set to 1 where they see a wild number. */
export class WildFlag {
  readonly #word = new ParameterBlock(1);

  /** Address of the word, which is set to 0. */
  lower(): number {
    return this.#word.fill(0);
  }

  /** Whether a kernel has seen a wild number. */
  get raised(): boolean {
    return heap.i32[this.#word.address >>> 2] !== 0;
  }
}

const parameters = ["source", "count", "flag"] as const;
/** Numbers that are looked at together. */
const together = 2 ** 12;
/** Blocks worth a hand-over to another thread. */
const worthSharing = 16;

/** A kernel that raises a flag where there are wild numbers; its range counts blocks. */
function searchKernel(): CpuKernel {
  const m = new ModuleBuilder();
  m.importMemory("env", "memory", memoryLimits);
  m.func("run", ["i32", "i32", "i32"], [], (f) => {
    const p = loadParameters(f, parameters);
    const watch = new Watch(f);
    const i = f.local("i32"), left = f.local("i32"), from = f.local("i32");
    f.get(1).set(i);
    loopWhileBelow(f, i, () => f.get(2), 1, () => {
      f.get(i).i32(4 * together).op("i32.mul").get(p.source).op("i32.add");
      f.set(from);
      setMin(
        f,
        left,
        () => f.i32(together),
        () => f.get(p.count).get(i).i32(together).op("i32.mul").op("i32.sub"),
      );
      repeat(f, left, () => {
        watch.see(() => f.get(from).load("v128.load"));
        advance(f, from, () => f.i32(16));
      }, 4);
      repeat(f, left, () => {
        watch.see(() => f.get(from).load("v128.load32_zero"));
        advance(f, from, () => f.i32(4));
      });
    });
    watch.tell(() => f.get(p.flag));
  });
  return createKernel("search wild numbers", m.toBytes());
}

const block = new ParameterBlock(parameters.length);
const flag = new WildFlag();

/** Whether some of `count` numbers at an address are wild. */
export function anyWild(source: number, count: number): boolean {
  runKernel(
    cachedKernel("search wild numbers", searchKernel),
    block.fill(source, count, flag.lower()),
    Math.ceil(count / together),
    worthSharing,
  );
  return flag.raised;
}
