/**
 * Training: the loop, metrics, checkpoints, callbacks, run folders, progress.
 *
 * @module
 */

export { toRecord, toTensor } from "./arrays.ts";
export { asciiImage, asciiImageRow } from "./ascii_image.ts";
export { writeFileAtomic } from "./atomic_file.ts";
export { renderChartSvg, runChart, saveChart } from "./chart.ts";
export {
  type Checkpoint,
  loadCheckpoint,
  loadWeights,
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
  Split,
  StartReport,
  StepReport,
} from "./fit_options.ts";
export {
  accuracy,
  type ConfusionMatrix,
  confusionMatrix,
  meanLoss,
  type Metric,
  perplexity,
  topK,
} from "./metrics.ts";
export type { Model } from "./model.ts";
export { BadLossError } from "./nan_guard.ts";
export { Progress } from "./progress.ts";
export { newRunFolder, readConfig, readMetrics, RunLog } from "./run_log.ts";
export { logging, progressDisplay } from "./show.ts";
