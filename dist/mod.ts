/**
 * Many devices: process groups and collectives, one process per device, and
 * data parallelism.
 *
 * @module
 */

export type { PerRank } from "./checks.ts";
export { CollectiveError } from "./errors.ts";
export { processGroup } from "./groups.ts";
export {
  type GroupOptions,
  type PlaceOptions,
  ProcessGroup,
  type ReduceOptions,
  type RootOptions,
} from "./process_group.ts";
export { type FinishOptions, type Work } from "./work.ts";
export {
  DataParallel,
  dataParallel,
  type DataParallelOptions,
  type Shard,
  type ShardLoss,
} from "./data_parallel.ts";
export type { Examples, GivenBatch } from "./shards.ts";
export { init, type InitOptions } from "./init.ts";
export { launch, type LaunchOptions, type LaunchResult } from "./launch.ts";
