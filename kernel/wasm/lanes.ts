/**
 * Emits scalar expressions as SIMD instructions on lanes: four lanes where
 * everything is at most 32 bits wide, two where 64-bit types take part (then
 * 32-bit values occupy the lower half, and truth values are 64-bit masks).
 *
 * @module
 */

import type { FunctionBuilder } from "./assembler.ts";
import { hasRelaxedSimd } from "./assembler.ts";
import {
  conversions,
  highWords,
  is32,
  isZero,
  packLow,
  shapeOf,
  shifts,
  splatBytes,
  typed,
} from "./lane_instructions.ts";
import type { Expr, FloatFunction, ScalarType } from "../expr.ts";

/** Functions that a kernel calls lane by lane; index by name. */
export type ImportTable = (name: string, arity: 1 | 2) => number;

const relaxed = hasRelaxedSimd();

/** Writes the code of expressions into a function. */
export class LaneEmitter {
  /** Local variables that already hold a node's value. */
  readonly memo: Map<Expr, number>;
  #uses = new Map<Expr, number>();

  /**
   * Writes into `f`.
   *
   * @param f Function that gets the code.
   * @param wide Whether lanes are 64 bits wide.
   * @param imports Finds functions for what has no instruction.
   * @param leaf Pushes the vector of a leaf or of a `load` (its offset is in the given local).
   * @param known Nodes that already have a local.
   */
  constructor(
    readonly f: FunctionBuilder,
    readonly wide: boolean,
    readonly imports: ImportTable,
    readonly leaf: (e: Expr, offset?: number) => void,
    known?: ReadonlyMap<Expr, number>,
  ) {
    this.memo = new Map(known);
  }

  /** Number of lanes. */
  get lanes(): number {
    return this.wide ? 2 : 4;
  }

  /** Announces the roots that will be emitted, so that shared nodes get a local. */
  plan(roots: readonly Expr[]): void {
    const count = (e: Expr) => {
      const uses = (this.#uses.get(e) ?? 0) + 1;
      this.#uses.set(e, uses);
      if (uses === 1 && !this.memo.has(e)) e.args.forEach(count);
    };
    roots.forEach(count);
  }

  /** Pushes the value of `e`. */
  emit(e: Expr): void {
    const { f } = this;
    const local = this.memo.get(e);
    if (local !== undefined) {
      f.get(local);
      return;
    }
    this.#code(e);
    if ((this.#uses.get(e) ?? 0) > 1) {
      const fresh = f.local("v128");
      f.tee(fresh);
      this.memo.set(e, fresh);
    }
  }

  /** Computes `e` now and returns the local that holds it. */
  toLocal(e: Expr): number {
    const known = this.memo.get(e);
    if (known !== undefined) return known;
    this.#code(e);
    const fresh = this.f.local("v128");
    this.f.set(fresh);
    this.memo.set(e, fresh);
    return fresh;
  }

  #args(e: Expr): void {
    for (const arg of e.args) this.emit(arg);
  }

  #code(e: Expr): void {
    const { f } = this;
    switch (e.op) {
      case "const":
        f.v128(splatBytes(e.value, e.type));
        return;
      case "input":
      case "scalar":
      case "coord":
      case "linear":
      case "stage":
        this.leaf(e);
        return;
      case "load":
        this.leaf(e, this.toLocal(e.args[0]));
        return;
      case "select":
        if (e.value === 1) this.#rarely(e);
        else if (!this.#selectsExtremum(e)) this.#select(e);
        return;
      case "cast":
        this.#cast(e);
        return;
      case "bitcast":
        this.#args(e);
        return;
      case "lt":
      case "le":
      case "eq":
      case "ne":
        this.#compare(e);
        return;
      case "shl":
      case "shr":
      case "shru":
        this.#args(e);
        f.i32(Number(e.value));
        f.op(typed(e.type, shifts[e.op]));
        return;
      case "and":
      case "or":
      case "xor":
      case "not":
        this.#args(e);
        f.op(`v128.${e.op}`);
        return;
      case "fma":
        this.#args(e);
        if (relaxed && (e.type === "f32" || e.type === "f64")) {
          f.op(e.type === "f32" ? "f32x4.relaxed_madd" : "f64x2.relaxed_madd");
        } else {
          // (a b c) → a·b + c
          const c = f.local("v128");
          f.set(c).op(typed(e.type, "mul")).get(c);
          f.op(typed(e.type, "add"));
        }
        return;
      case "mulhiu": {
        const a = this.toLocal(e.args[0]), b = this.toLocal(e.args[1]);
        f.get(a).get(b).op("i64x2.extmul_low_i32x4_u");
        f.get(a).get(b).op("i64x2.extmul_high_i32x4_u");
        f.shuffle(highWords);
        return;
      }
      case "wrapU8":
        this.#args(e);
        f.v128(splatBytes(255, "i32")).op("v128.and");
        return;
      case "wrapI8":
        this.#args(e);
        f.i32(24).op("i32x4.shl").i32(24).op("i32x4.shr_s");
        return;
      case "roundF16":
      case "roundBf16":
        throw new TypeError(`Cannot emit ${e.op}: lower the expression first`);
      case "min":
      case "max":
        if (e.type === "i64") {
          const a = this.toLocal(e.args[0]), b = this.toLocal(e.args[1]);
          f.get(a).get(b).get(a).get(b);
          f.op(e.op === "min" ? "i64x2.lt_s" : "i64x2.gt_s");
          f.op("v128.bitselect");
          return;
        }
        if (e.type === "i32") {
          this.#args(e);
          f.op(e.op === "min" ? "i32x4.min_s" : "i32x4.max_s");
          return;
        }
        this.#floatExtremum(e);
        return;
      case "div":
      case "rem":
        if (e.type === "i32" || e.type === "i64") this.#integerDivision(e);
        else if (e.op === "div") {
          this.#args(e);
          f.op(typed(e.type, "div"));
        } else this.#lanewise(e, "fmod");
        return;
      case "add":
      case "sub":
      case "mul":
      case "neg":
      case "abs":
        this.#args(e);
        f.op(typed(e.type, e.op));
        return;
      case "sqrt":
      case "floor":
      case "ceil":
      case "trunc":
        this.#args(e);
        f.op(typed(e.type, e.op));
        return;
      case "round":
        this.#args(e);
        f.op(typed(e.type, "nearest"));
        return;
      default:
        this.#lanewise(e, e.op satisfies FloatFunction | "atan2" | "pow");
    }
  }

  /** `c ? a : b`, where c is a mask of whole lanes: against 0 a single instruction. */
  #select(e: Expr): void {
    const { f } = this;
    const [condition, a, b] = e.args;
    const mask = () => {
      this.emit(condition);
      if (this.wide && is32(e.type)) this.#packLow();
    };
    if (isZero(b)) {
      this.emit(a);
      mask();
      f.op("v128.and");
    } else if (isZero(a)) {
      this.emit(b);
      mask();
      f.op("v128.andnot");
    } else {
      this.emit(a);
      this.emit(b);
      mask();
      if (!relaxed) f.op("v128.bitselect");
      else if (this.wide && !is32(e.type)) f.op("i64x2.relaxed_laneselect");
      else f.op("i32x4.relaxed_laneselect");
    }
  }

  /** Emits `p < q ? p : q` and `p < q ? q : p` of floats as the one instruction that they are. */
  #selectsExtremum(e: Expr): boolean {
    const [condition, a, b] = e.args;
    if (condition.op !== "lt" || (e.type !== "f32" && e.type !== "f64")) {
      return false;
    }
    const [p, q] = condition.args;
    const smaller = a === p && b === q, larger = a === q && b === p;
    if (!smaller && !larger) return false;
    // pmin(x, y) is y < x ? y : x;  pmax(x, y) is x < y ? y : x.
    this.emit(smaller ? q : p);
    this.emit(smaller ? p : q);
    this.f.op(typed(e.type, smaller ? "pmin" : "pmax"));
    return true;
  }

  /** min and max of floats, where a bound that is a number makes the handling of NaN free. */
  #floatExtremum(e: Expr): void {
    const [a, b] = e.args;
    const bound = [b, a].find((x) =>
      x.op === "const" && !Number.isNaN(x.value)
    );
    if (bound === undefined) {
      this.#args(e);
      this.f.op(typed(e.type, e.op));
      return;
    }
    this.emit(bound === b ? a : b);
    this.emit(bound);
    this.f.op(typed(e.type, `p${e.op}`));
  }

  #compare(e: Expr): void {
    const { f } = this;
    const type = e.args[0].type;
    if (type === "bool") {
      const a = this.toLocal(e.args[0]), b = this.toLocal(e.args[1]);
      if (e.op === "lt") f.get(b).get(a).op("v128.andnot");
      else if (e.op === "le") f.get(a).op("v128.not").get(b).op("v128.or");
      else {
        f.get(a).get(b).op("v128.xor");
        if (e.op === "eq") f.op("v128.not");
      }
      return;
    }
    this.#args(e);
    const signed = (type === "i32" || type === "i64") &&
      (e.op === "lt" || e.op === "le");
    f.op(typed(type, signed ? `${e.op}_s` : e.op));
    if (this.wide && is32(type)) f.op("i64x2.extend_low_i32x4_s");
  }

  #cast(e: Expr): void {
    const { f } = this;
    const from = e.args[0].type, to = e.type;
    this.emit(e.args[0]);
    if (to === "bool") {
      f.v128(splatBytes(0, from)).op(typed(from, "ne"));
      if (this.wide && is32(from)) f.op("i64x2.extend_low_i32x4_s");
      return;
    }
    if (from === "bool") {
      if (this.wide && is32(to)) this.#packLow();
      f.v128(splatBytes(1, to)).op("v128.and");
      return;
    }
    const direct = conversions[`${from}>${to}`];
    if (direct !== undefined) f.op(direct);
    else if (from === "i64" && to === "i32") this.#packLow();
    else this.#convertLanes(from, to);
  }

  /** Moves the lower words of both 64-bit lanes to the lower half. */
  #packLow(): void {
    const { f } = this;
    const whole = f.local("v128");
    f.tee(whole).get(whole).shuffle(packLow);
  }

  /** Conversions between i64 and floats have no vector instruction. */
  #convertLanes(from: ScalarType, to: ScalarType): void {
    const { f } = this;
    const source = f.local("v128");
    f.set(source);
    f.v128(new Uint8Array(16));
    for (let lane = 0; lane < 2; lane++) {
      f.get(source);
      f.lane(
        from === "i64"
          ? "i64x2.extract_lane"
          : from === "f64"
          ? "f64x2.extract_lane"
          : "f32x4.extract_lane",
        lane,
      );
      if (from === "i64") {
        f.op(to === "f64" ? "f64.convert_i64_s" : "f32.convert_i64_s");
        f.lane(
          to === "f64" ? "f64x2.replace_lane" : "f32x4.replace_lane",
          lane,
        );
      } else {
        f.op(from === "f64" ? "i64.trunc_sat_f64_s" : "i64.trunc_sat_f32_s");
        f.lane("i64x2.replace_lane", lane);
      }
    }
  }

  /** Calls an imported f64 function for each lane. */
  #lanewise(e: Expr, name: string): void {
    const { f } = this;
    const index = this.imports(name, e.args.length as 1 | 2);
    const args = e.args.map((arg) => this.toLocal(arg));
    const single = e.type === "f32";
    f.v128(new Uint8Array(16));
    for (let lane = 0; lane < this.lanes; lane++) {
      for (const arg of args) {
        f.get(arg).lane(
          single ? "f32x4.extract_lane" : "f64x2.extract_lane",
          lane,
        );
        if (single) f.op("f64.promote_f32");
      }
      f.call(index);
      if (single) f.op("f32.demote_f64");
      f.lane(single ? "f32x4.replace_lane" : "f64x2.replace_lane", lane);
    }
  }

  /** A select whose last branch, a function of the rare kind, is called only when a lane needs it. */
  #rarely(e: Expr): void {
    const { f } = this;
    const [condition, usual, rare] = e.args;
    // All that the branch reads is computed before it.
    const mask = this.toLocal(condition), result = this.toLocal(usual);
    for (const arg of rare.args) this.toLocal(arg);
    f.get(mask).op("i32x4.all_true").if(() => f.get(result), () => {
      f.get(result);
      this.#lanewise(rare, rare.op);
      f.get(mask);
      if (this.wide) this.#packLow();
      f.op("v128.bitselect");
    }, "v128");
  }

  /** Truncating division and remainder; 0 for a divisor of 0, and no trap for the smallest number over −1. */
  #integerDivision(e: Expr): void {
    const { f } = this;
    const type = e.type as "i32" | "i64";
    const a = this.toLocal(e.args[0]), b = this.toLocal(e.args[1]);
    const x = f.local(type), y = f.local(type);
    const lanes = this.wide && type === "i32" ? 2 : this.lanes;
    const number = (value: number) =>
      type === "i32" ? f.i32(value) : f.i64(BigInt(value));
    f.v128(new Uint8Array(16));
    for (let lane = 0; lane < lanes; lane++) {
      f.get(a).lane(
        `${shapeOf[type]}.extract_lane` as "i32x4.extract_lane",
        lane,
      ).set(x);
      f.get(b).lane(
        `${shapeOf[type]}.extract_lane` as "i32x4.extract_lane",
        lane,
      ).set(y);
      // y = 0: 0;  y = −1: −x (or 0 for the remainder);  else x op y
      number(0);
      if (e.op === "div") number(0).get(x).op(`${type}.sub`);
      else number(0);
      f.get(x);
      number(1).get(y).get(y);
      number(1);
      f.op(`${type}.add`);
      number(2);
      f.op(`${type}.lt_u`).select();
      f.op(e.op === "div" ? `${type}.div_s` : `${type}.rem_s`);
      f.get(y);
      number(-1);
      f.op(`${type}.eq`).select();
      f.get(y);
      number(0);
      f.op(`${type}.eq`).select();
      f.lane(`${shapeOf[type]}.replace_lane` as "i32x4.replace_lane", lane);
    }
  }
}
