/**
 * Plans in memory, found by numbers that describe the problem. No text is made
 * for a plan that is known.
 *
 * @module
 */

interface Entry<T> {
  readonly key: readonly number[];
  readonly value: T;
}

/** Values by lists of numbers. */
export class PlanTable<T> {
  readonly #entries = new Map<number, Entry<T>[]>();

  /** The value of a key, if there is one. */
  get(key: readonly number[]): T | undefined {
    const found = this.#entries.get(hashOf(key));
    if (found === undefined) return undefined;
    for (const entry of found) if (same(entry.key, key)) return entry.value;
    return undefined;
  }

  /** Adds a value; the key is copied. */
  add(key: readonly number[], value: T): void {
    const hash = hashOf(key);
    const entry = { key: [...key], value };
    const found = this.#entries.get(hash);
    if (found === undefined) this.#entries.set(hash, [entry]);
    else found.push(entry);
  }

  /** All values. */
  *values(): Generator<T> {
    for (const entries of this.#entries.values()) {
      for (const entry of entries) yield entry.value;
    }
  }
}

/** FNV-1a over the low and the high bits of each number. */
function hashOf(key: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    const n = key[i];
    hash = Math.imul(hash ^ n, 0x01000193);
    if (n > 0x7fffffff) hash = Math.imul(hash ^ (n / 2 ** 32), 0x01000193);
  }
  return hash;
}

function same(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
