/**
 * What a failed call of a native library turns into.
 *
 * @module
 */

/** A call that a native library refused. */
export interface FailedCall {
  /** Library, as its file is called: `cudart`, `cublasLt`, … */
  readonly library: string;
  /** Function of the library. */
  readonly function: string;
  /** What it returned. */
  readonly status: number;
  /** Name of the status in the library's header. */
  readonly statusName: string;
  /** What the status means, in words. */
  readonly text?: string;
  /** The arguments that matter: `2.0 MiB`, `[64, 128] · [128, 10]`, … */
  readonly arguments?: string;
}

/** A call of a native library failed. */
export class CudaError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "CudaError";
  /** Device that was current, where one was. */
  readonly device: string | undefined;

  /**
   * Words the failure.
   *
   * @param call The call and what it returned.
   * @param device Device that was current.
   * @param more A sentence that says what follows, or what would work.
   */
  constructor(readonly call: FailedCall, device?: string, more?: string) {
    const where = device === undefined ? "" : ` on ${device}`;
    const args = call.arguments === undefined ? "" : ` (${call.arguments})`;
    const text = call.text === undefined ? "" : `, ${call.text}`;
    super(
      `${call.function} failed${where}${args}: ${call.statusName} (${call.status})${text}${
        more === undefined ? "" : `; ${more}`
      }`,
    );
    this.device = device;
  }
}

/** How the device layer takes part in failures: it knows the device, and what a status means for it. */
export const failures: {
  /** Name of the device that is current for this thread. */
  device: string | undefined;
  /** Looks at each failure before it is thrown; returns what to add to its message. */
  explain: ((call: FailedCall) => string | undefined) | undefined;
} = { device: undefined, explain: undefined };

/**
 * Throws the error for a failed call.
 *
 * @throws {CudaError} always.
 */
export function fail(call: FailedCall): never {
  const more = failures.explain?.(call);
  throw new CudaError(call, failures.device, more);
}
