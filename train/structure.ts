/**
 * What a captured step was captured of: the settings of a model's parts, and
 * which of its tensors learn. A replay does not ask for them again.
 *
 * @module
 */

import { Tensor } from "../core/tensor.ts";

/** Arrays of more plain numbers than this are data, and compared as a whole. */
const longest = 64;

/** One property as it was. */
interface Seen {
  readonly owner: Readonly<Record<string, unknown>>;
  readonly name: string;
  readonly value: unknown;
}

/** The properties of objects and of all below them, as they were at one moment. */
export class Structure {
  readonly #properties: Seen[] = [];
  readonly #sizes: { owner: object; size: number }[] = [];
  readonly #tensors: { tensor: Tensor; learns: boolean; hooks: number }[] = [];
  readonly #known = new Set<object>();

  /**
   * Looks at them.
   *
   * @param roots Where to begin, each with the names of properties that may change.
   */
  constructor(
    roots: readonly { root: object; except?: readonly string[] }[],
  ) {
    for (const { root, except } of roots) this.#look(root, new Set(except));
  }

  #look(owner: object, except: ReadonlySet<string>): void {
    if (this.#known.has(owner)) return;
    this.#known.add(owner);
    if (owner instanceof Tensor) {
      const { requiresGrad: learns } = owner;
      const hooks = owner.hooks?.length ?? 0;
      this.#tensors.push({ tensor: owner, learns, hooks });
      return;
    }
    if (ArrayBuffer.isView(owner) || owner instanceof Map) return;
    const names = Object.keys(owner);
    this.#sizes.push({ owner, size: names.length });
    if (Array.isArray(owner) && names.length > longest) {
      if (typeof owner[0] !== "object") return;
    }
    const record = owner as Readonly<Record<string, unknown>>;
    for (const name of names) {
      if (except.has(name)) continue;
      const value = record[name];
      this.#properties.push({ owner: record, name, value });
      if (typeof value === "object" && value !== null) {
        this.#look(value, except);
      }
    }
  }

  /** Whether anything is different now. */
  changed(): boolean {
    return this.#properties.some(({ owner, name, value }) =>
      !Object.is(owner[name], value)
    ) ||
      this.#tensors.some(({ tensor, learns, hooks }) =>
        tensor.requiresGrad !== learns || (tensor.hooks?.length ?? 0) !== hooks
      ) || this.#sizes.some(({ owner, size }) => sizeOf(owner) !== size);
  }
}

function sizeOf(owner: object): number {
  return Array.isArray(owner) ? owner.length : Object.keys(owner).length;
}
