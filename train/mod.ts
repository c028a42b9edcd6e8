/**
 * Training: the loop, what watches it, checkpoints, metrics and run folders.
 *
 * @module
 */

export {
  asciiImage,
  type AsciiImageOptions,
  asciiImageRow,
  type GreyPixels,
  type ImageRowOptions,
} from "./ascii_image.ts";
export { toRecord, toTensor } from "./arrays.ts";
export {
  type Chart,
  type ChartPanel,
  type ChartSeries,
  renderChartSvg,
  runChart,
  saveChart,
} from "./chart.ts";
export {
  type Checkpoint,
  loadCheckpoint,
  loadProgress,
  loadWeights,
  type Progress as CheckpointProgress,
  saveCheckpoint,
  saveWeights,
} from "./checkpoint.ts";
export { earlyStopping, type EarlyStoppingOptions } from "./early_stopping.ts";
export { evaluate, type EvaluateOptions } from "./evaluate.ts";
export { fit } from "./fit.ts";
export type {
  Callback,
  EpochReport,
  FitOptions,
  FitResult,
  Loss,
  Numbers,
  Parallel,
  Part,
  Split,
  StartReport,
  StepNumbers,
  StepReport,
} from "./fit_options.ts";
export {
  accuracy,
  type ConfusionMatrix,
  confusionMatrix,
  type LabelOptions,
  meanLoss,
  type Metric,
  perplexity,
  topK,
} from "./metrics.ts";
export {
  GradScaler,
  type GradScalerOptions,
  type GradScalerState,
  type OptimizerTeam,
} from "./grad_scaler.ts";
export { type Precision, precisions } from "./precision.ts";
export type { Model } from "./model.ts";
export { BadLossError } from "./nan_guard.ts";
export {
  Progress,
  type ProgressMetrics,
  type ProgressOptions,
} from "./progress.ts";
export {
  type MetricsLine,
  newRunFolder,
  readConfig,
  readMetrics,
  type RunConfig,
  RunLog,
  type RunLogOptions,
} from "./run_log.ts";
export {
  makePolicy,
  type Observer,
  observes,
  type Schedule,
  type ScheduleName,
  schedules,
} from "./schedule.ts";
export {
  logging,
  numbersText,
  type ProgressDisplay,
  progressDisplay,
  type ProgressDisplayOptions,
} from "./show.ts";
export { EventWriter, type EventWriterOptions } from "./tensorboard.ts";
export { tracing, type TracingOptions } from "./tracing.ts";
