/**
 * The worker that makes batches of pictures beside the training.
 *
 * @module
 */
import { type ImageRequest, loadImages } from "./image_batch.ts";
import { transformFrom, type TransformSpec } from "./transforms.ts";

/** What is sent to the worker. */
export interface WorkerRequest {
  /** Comes back with the answer. */
  id: number;
  /** The pictures. */
  images: ImageRequest;
  /** The transform, if there is one. */
  transform: TransformSpec | undefined;
}

/** The part of the worker's global scope that is used here. */
interface WorkerScope {
  onmessage: (event: MessageEvent<WorkerRequest>) => Promise<void>;
  postMessage(message: unknown, transfer?: Transferable[]): void;
}

const scope = self as unknown as WorkerScope;

scope.onmessage = async ({ data }) => {
  const { id, images, transform } = data;
  try {
    const build = transform === undefined
      ? undefined
      : transformFrom(transform);
    const array = await loadImages(images, build);
    scope.postMessage({ id, array }, [array.data.buffer as ArrayBuffer]);
  } catch (error) {
    const { name, message } = error as Error;
    scope.postMessage({ id, error: { name, message } });
  }
};
