/**
 * Computations that operators are made of: not recorded, and with nothing left
 * behind but their results.
 *
 * @module
 */

import { scope } from "./scope.ts";
import { noGrad } from "./tape.ts";
import { freeingOnError } from "./value.ts";

/**
 * Runs `body` without recording. The tensors that it makes are freed, but for
 * those in its result; with an error, all values that it made.
 */
export function unrecorded<T>(body: () => T): T {
  return noGrad(() => freeingOnError(() => scope(body)));
}
