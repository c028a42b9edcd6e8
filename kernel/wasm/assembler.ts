/**
 * A small WebAssembly assembler: modules with imported memory and functions,
 * exported functions, and every numeric, SIMD and atomic instruction by name.
 *
 * @example
 * ```ts
 * import { ModuleBuilder } from "./assembler.ts";
 *
 * const m = new ModuleBuilder();
 * m.func("twice", ["f32"], ["f32"], (f) => {
 *   f.get(0).get(0).op("f32.add");
 * });
 * const { exports } = new WebAssembly.Instance(
 *   new WebAssembly.Module(m.toBytes()),
 * );
 * if ((exports.twice as (x: number) => number)(21) !== 42) throw new Error();
 * ```
 *
 * @module
 */

import {
  type AtomicOp,
  type LaneLoadOp,
  type LaneOp,
  laneOps,
  type LaneStoreOp,
  type LoadOp,
  type MemoryOp,
  memoryOps,
  type PlainOp,
  plainOps,
  type StoreOp,
  unsigned,
} from "./opcodes.ts";

/** Type of a value on the stack, of a local, a parameter or a result. */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

/** Target of a branch: what `block`, `loop` and `if` hand to their bodies. */
export type Label = number & { readonly label: unique symbol };

/** Pages (64 KiB) of an imported memory, and whether threads share it. */
export interface MemoryLimits {
  /** Fewest pages that the importer must provide. */
  readonly min: number;
  /** Most pages that the provided memory may declare. */
  readonly max?: number;
  /** Whether the memory is shared between threads. */
  readonly shared?: boolean;
}

const valueTypes: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

const scratch = new DataView(new ArrayBuffer(8));
const empty = 0x40;

/** Writes the instructions of one function; every method returns the builder, so calls chain. */
export class FunctionBuilder {
  #code: number[] = [];
  #locals: ValueType[] = [];
  #depth = 0;

  /** Makes the builder of a function with `parameters` parameters. */
  constructor(private readonly parameters: number) {}

  /** Declares a local variable and returns its index. */
  local(type: ValueType): number {
    this.#locals.push(type);
    return this.parameters + this.#locals.length - 1;
  }

  /** Pushes a local variable. */
  get(local: number): this {
    return this.#emit(0x20).#unsigned(local);
  }

  /** Pops into a local variable. */
  set(local: number): this {
    return this.#emit(0x21).#unsigned(local);
  }

  /** Copies the top of the stack into a local variable. */
  tee(local: number): this {
    return this.#emit(0x22).#unsigned(local);
  }

  /** Pushes an imported global constant. */
  global(index: number): this {
    return this.#emit(0x23).#unsigned(index);
  }

  /** An instruction without immediate operands. */
  op(name: PlainOp): this {
    return this.#bytes(plainOps[name]);
  }

  /** Pushes a 32-bit integer; values up to 2³²−1 are taken modulo 2³². */
  i32(value: number): this {
    return this.#emit(0x41).#signed(BigInt(value | 0));
  }

  /** Pushes a 64-bit integer, taken modulo 2⁶⁴. */
  i64(value: bigint): this {
    return this.#emit(0x42).#signed(BigInt.asIntN(64, value));
  }

  /** Pushes a single-precision float. */
  f32(value: number): this {
    scratch.setFloat32(0, value, true);
    this.#emit(0x43);
    return this.#scratch(4);
  }

  /** Pushes a double-precision float. */
  f64(value: number): this {
    scratch.setFloat64(0, value, true);
    this.#emit(0x44);
    return this.#scratch(8);
  }

  /** Pushes a vector of 16 bytes, lowest first. */
  v128(bytes: ArrayLike<number>): this {
    return this.#bytes([0xfd, 0x0c]).#sixteen(bytes, "v128 constant");
  }

  /** Pops an address and pushes what lies at address + offset. */
  load(name: LoadOp, offset = 0): this {
    return this.#memory(memoryOps[name], offset);
  }

  /** Pops a value and an address and writes the value at address + offset. */
  store(name: StoreOp, offset = 0): this {
    return this.#memory(memoryOps[name], offset);
  }

  /** Pops a vector and an address and pushes the vector with one lane loaded. */
  loadLane(name: LaneLoadOp, lane: number, offset = 0): this {
    return this.#memory(memoryOps[name], offset).#emit(lane);
  }

  /** Pops a vector and an address and writes one lane. */
  storeLane(name: LaneStoreOp, lane: number, offset = 0): this {
    return this.#memory(memoryOps[name], offset).#emit(lane);
  }

  /** An atomic access to memory; its operands are on the stack. */
  atomic(name: AtomicOp, offset = 0): this {
    return this.#memory(memoryOps[name], offset);
  }

  /** Takes a lane out of a vector, or replaces it. */
  lane(name: LaneOp, lane: number): this {
    return this.#bytes(laneOps[name]).#emit(lane);
  }

  /** Picks 16 bytes out of two vectors: 0–15 from the first, 16–31 from the second. */
  shuffle(bytes: ArrayLike<number>): this {
    return this.#bytes([0xfd, 0x0d]).#sixteen(bytes, "shuffle");
  }

  /** A block; a branch to its label leaves it. */
  block(body: (label: Label) => void, result?: ValueType): this {
    return this.#structure(0x02, body, result);
  }

  /** A loop; a branch to its label starts the next turn. */
  loop(body: (label: Label) => void, result?: ValueType): this {
    return this.#structure(0x03, body, result);
  }

  /** Pops a condition and runs one of two bodies; a branch to the label leaves it. */
  if(
    then: (label: Label) => void,
    otherwise?: (label: Label) => void,
    result?: ValueType,
  ): this {
    return this.#structure(0x04, (label) => {
      then(label);
      if (otherwise !== undefined) {
        this.#emit(0x05);
        otherwise(label);
      }
    }, result);
  }

  /** Branches to a label. */
  br(label: Label): this {
    return this.#emit(0x0c).#unsigned(this.#depth - label);
  }

  /** Pops a condition and branches when it is not zero. */
  brIf(label: Label): this {
    return this.#emit(0x0d).#unsigned(this.#depth - label);
  }

  /** Pops an index and branches to that label, or to `otherwise` when there are not as many. */
  brTable(labels: readonly Label[], otherwise: Label): this {
    this.#emit(0x0e).#unsigned(labels.length);
    for (const label of [...labels, otherwise]) {
      this.#unsigned(this.#depth - label);
    }
    return this;
  }

  /** Calls the function with this index. */
  call(index: number): this {
    return this.#emit(0x10).#unsigned(index);
  }

  /** Leaves the function. */
  return(): this {
    return this.op("return");
  }

  /** Pops a value and forgets it. */
  drop(): this {
    return this.op("drop");
  }

  /** Pops a condition and two values; pushes the first when the condition is not zero, else the second. */
  select(): this {
    return this.op("select");
  }

  /** The function's entry in the code section. */
  toBytes(): number[] {
    const body: number[] = [...unsigned(this.#locals.length)];
    for (const type of this.#locals) body.push(1, valueTypes[type]);
    const size = unsigned(body.length + this.#code.length + 1);
    return size.concat(body, this.#code, 0x0b);
  }

  #emit(byte: number): this {
    this.#code.push(byte);
    return this;
  }

  #bytes(bytes: readonly number[]): this {
    for (let i = 0; i < bytes.length; i++) this.#code.push(bytes[i]);
    return this;
  }

  #unsigned(value: number): this {
    return value < 128 ? this.#emit(value) : this.#bytes(unsigned(value));
  }

  #signed(value: bigint): this {
    let rest = value;
    for (;;) {
      const low = Number(rest & 127n);
      rest >>= 7n;
      if ((rest === 0n && low < 64) || (rest === -1n && low >= 64)) {
        return this.#emit(low);
      }
      this.#emit(low | 128);
    }
  }

  #scratch(length: number): this {
    for (let i = 0; i < length; i++) this.#emit(scratch.getUint8(i));
    return this;
  }

  #sixteen(bytes: ArrayLike<number>, what: string): this {
    if (bytes.length !== 16) {
      throw new RangeError(`A ${what} takes 16 bytes, not ${bytes.length}`);
    }
    for (let i = 0; i < 16; i++) this.#emit(bytes[i]);
    return this;
  }

  #memory(op: MemoryOp, offset: number): this {
    return this.#bytes(op.code).#emit(op.align).#unsigned(offset);
  }

  #structure(
    code: number,
    body: (label: Label) => void,
    result: ValueType | undefined,
  ): this {
    this.#emit(code).#emit(result === undefined ? empty : valueTypes[result]);
    this.#depth++;
    body(this.#depth as Label);
    this.#depth--;
    return this.#emit(0x0b);
  }
}

/** Collects imports and functions and writes the binary module. */
export class ModuleBuilder {
  #types: number[][] = [];
  #typeIndex = new Map<string, number>();
  #imports: number[][] = [];
  #importedFunctions = 0;
  #importedGlobals = 0;
  #functions: number[] = [];
  #exports: number[][] = [];
  #code: number[][] = [];

  /** Imports the memory that all instructions work on. */
  importMemory(module: string, name: string, limits: MemoryLimits): void {
    const { min, max, shared = false } = limits;
    if (shared && max === undefined) {
      throw new TypeError(
        "A shared memory needs a maximum: give limits.max, in pages",
      );
    }
    this.#imports.push([
      ...text(module),
      ...text(name),
      2,
      (max === undefined ? 0 : 1) | (shared ? 2 : 0),
      ...unsigned(min),
      ...(max === undefined ? [] : unsigned(max)),
    ]);
  }

  /** Imports a constant and returns its index. */
  importGlobal(module: string, name: string, type: ValueType): number {
    this.#imports.push([
      ...text(module),
      ...text(name),
      3,
      valueTypes[type],
      0,
    ]);
    return this.#importedGlobals++;
  }

  /** Imports a function and returns its index; imports come before functions. */
  importFunction(
    module: string,
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): number {
    if (this.#functions.length > 0) {
      throw new TypeError(
        `Cannot import ${module}.${name} after a function was defined: import first`,
      );
    }
    this.#imports.push([
      ...text(module),
      ...text(name),
      0,
      ...unsigned(this.#type(parameters, results)),
    ]);
    return this.#importedFunctions++;
  }

  /** Defines a function, exported under `name` unless that is empty, and returns its index. */
  func(
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
    body: (f: FunctionBuilder) => void,
  ): number {
    const index = this.#importedFunctions + this.#functions.length;
    this.#functions.push(this.#type(parameters, results));
    const f = new FunctionBuilder(parameters.length);
    body(f);
    this.#code.push(f.toBytes());
    if (name !== "") {
      this.#exports.push([...text(name), 0, ...unsigned(index)]);
    }
    return index;
  }

  /** The binary module. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array([
      ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, this.#types),
      ...section(2, this.#imports),
      ...section(3, this.#functions.map(unsigned)),
      ...section(7, this.#exports),
    ].concat(section(10, this.#code)));
  }

  #type(
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): number {
    const key = `${parameters}>${results}`;
    let index = this.#typeIndex.get(key);
    if (index === undefined) {
      index = this.#types.length;
      this.#typeIndex.set(key, index);
      this.#types.push([
        0x60,
        parameters.length,
        ...parameters.map((type) => valueTypes[type]),
        results.length,
        ...results.map((type) => valueTypes[type]),
      ]);
    }
    return index;
  }
}

function text(value: string): number[] {
  const bytes = new TextEncoder().encode(value);
  return [...unsigned(bytes.length), ...bytes];
}

function section(id: number, entries: readonly number[][]): number[] {
  if (entries.length === 0) return [];
  const body = unsigned(entries.length).concat(...entries);
  return [id].concat(unsigned(body.length), body);
}

let relaxedSimd: boolean | undefined;

/** Whether the engine has `relaxed_madd` and the other relaxed SIMD instructions. */
export function hasRelaxedSimd(): boolean {
  if (relaxedSimd === undefined) {
    const m = new ModuleBuilder();
    m.func("", ["v128"], ["v128"], (f) => {
      f.get(0).get(0).get(0).op("f32x4.relaxed_madd");
    });
    relaxedSimd = WebAssembly.validate(m.toBytes());
  }
  return relaxedSimd;
}
