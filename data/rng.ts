/**
 * Random numbers on the host, for shuffling and for transforms: streams of
 * Philox that each epoch or picture has for itself.
 *
 * @module
 */

export {
  checkSeed,
  permutation,
  Philox,
  philox4x32,
  type Words4,
} from "../core/random.ts";
