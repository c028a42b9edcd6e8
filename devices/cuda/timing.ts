/**
 * Times of library calls on a device, for choosing among several ways to
 * compute the same.
 *
 * @module
 */

import { capturing } from "../../core/capture.ts";
import { createEvent, cudart, elapsed } from "../../ffi/cudart.ts";
import type { CudaContext } from "./context.ts";

/** How often each call is timed. */
const repetitions = 5;

/** Whether calls can be timed now: not while work is captured, when nothing runs. */
export function mayTime(): boolean {
  return !capturing();
}

/**
 * Milliseconds of each call on the device's stream; infinite for one that
 * answers false, or when events fail.
 */
export function timeCalls(
  context: CudaContext,
  calls: readonly (() => boolean)[],
): number[] {
  context.activate();
  const events: bigint[] = [];
  try {
    events.push(createEvent(true), createEvent(true));
    const [start, end] = events;
    return calls.map((call) => timeOne(context.stream, call, start, end));
  } catch {
    return calls.map(() => Infinity); // no events, no times: the caller has a first choice
  } finally {
    for (const event of events) cudart().cudaEventDestroy(event);
  }
}

function timeOne(
  stream: bigint,
  call: () => boolean,
  start: bigint,
  end: bigint,
): number {
  if (!call()) return Infinity; // also loads the kernel, which no later call does
  const { cudaEventRecord, cudaEventSynchronize } = cudart();
  let status = cudaEventRecord(start, stream);
  for (let i = 0; i < repetitions; i++) {
    if (!call()) return Infinity;
  }
  status ||= cudaEventRecord(end, stream);
  status ||= cudaEventSynchronize(end);
  return status === 0 ? elapsed(start, end) / repetitions : Infinity;
}
