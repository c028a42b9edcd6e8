/**
 * Turns of the event loop, so that signals and timers get their chance while
 * a training, which computes synchronously, goes on.
 *
 * @module
 */

/** Milliseconds between turns. */
const pause = 100;

let turned = 0;

/** Lets the event loop turn if it did not for a while. */
export async function turn(): Promise<void> {
  const now = performance.now();
  if (now - turned < pause) return;
  turned = now;
  await new Promise((resolve) => setTimeout(resolve, 0));
}
