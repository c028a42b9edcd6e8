/**
 * Names of kernels that are made of parts: making one anew at each call would
 * take longer than all else that is done to find the kernel.
 *
 * @module
 */

/** The names of one family of kernels. */
export class KernelNames {
  readonly #names = new Map<string, string[]>();

  /**
   * The name of a kind of kernel.
   *
   * @param what Its part that is a constant.
   * @param kind A small number that stands for the other parts.
   * @param write Makes the name from all of them, the first time.
   */
  of(what: string, kind: number, write: () => string): string {
    let kinds = this.#names.get(what);
    if (kinds === undefined) this.#names.set(what, kinds = []);
    return kinds[kind] ??= write();
  }
}
