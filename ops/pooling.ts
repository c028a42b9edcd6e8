/**
 * Pooling: maximum, average, power average, adaptive and global.
 *
 * @module
 */

export { adaptiveAvgPool, adaptiveMaxPool } from "./adaptive_pooling.ts";
export {
  type AveragePool,
  type AveragePoolOptions,
  avgPool,
  lpPool,
} from "./average_pooling.ts";
export {
  maxPool,
  maxPoolWithIndices,
  type PoolOptions,
  type PoolWithIndices,
} from "./max_pooling.ts";
