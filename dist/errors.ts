/**
 * What goes wrong between ranks.
 *
 * @module
 */

/** A collective failed or did not end, or a peer is gone; the group cannot be used any more. */
export class CollectiveError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "CollectiveError";
}
