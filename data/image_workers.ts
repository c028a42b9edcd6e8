/**
 * The side of the training that talks to {@link ./image_worker.ts}.
 *
 * @module
 */
import type { ArrayRecord } from "../formats/array_record.ts";
import type { ImageRequest } from "./image_batch.ts";
import type { WorkerRequest } from "./image_worker.ts";
import type { TransformSpec } from "./transforms.ts";

/** The worker could not be started; the same work can be done here. */
export class WorkerUnavailable extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "WorkerUnavailable";
}

interface Waiting {
  resolve(array: ArrayRecord): void;
  reject(error: Error): void;
}

interface Answer {
  id: number;
  array?: ArrayRecord;
  error?: { name: string; message: string };
}

/** One worker that decodes pictures. Ends with {@linkcode Symbol.dispose}. */
export class ImageWorker implements Disposable {
  #worker: Worker;
  #waiting = new Map<number, Waiting>();
  #next = 0;
  #failed: Error | undefined;

  /**
   * Starts the worker.
   *
   * @throws {Error} where workers are not allowed at all.
   */
  constructor() {
    this.#worker = new Worker(new URL("./image_worker.ts", import.meta.url), {
      type: "module",
    });
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.array) waiting?.resolve(data.array);
      else waiting?.reject(rebuilt(data.error!));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new WorkerUnavailable(event.message));
    };
  }

  /**
   * Asks for the pictures of a batch.
   *
   * @throws {WorkerUnavailable} when the worker could not be started.
   */
  load(
    images: ImageRequest,
    transform: TransformSpec | undefined,
  ): Promise<ArrayRecord> {
    if (this.#failed) return Promise.reject(this.#failed);
    const id = this.#next++;
    const message: WorkerRequest = { id, images, transform };
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage(message);
    });
  }

  /** Ends the worker; batches on their way are refused. */
  [Symbol.dispose](): void {
    this.#fail(new WorkerUnavailable("The data set was disposed"));
    this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#failed = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** An error of the worker, as the class it had there. */
function rebuilt({ name, message }: { name: string; message: string }): Error {
  const classes: Record<string, ErrorConstructor> = {
    SyntaxError,
    RangeError,
    TypeError,
  };
  const error = new (classes[name] ?? Error)(message);
  error.name = name;
  return error;
}
