/**
 * Event files that TensorBoard reads: records framed as TensorFlow does, each
 * an `Event` of `tensorflow/core/util/event.proto`. The messages are encoded by
 * the npm package `@bufbuild/protobuf`, fetched on first use.
 *
 * @module
 */
import { checkOptions } from "../core/options.ts";
import { describeWriteError } from "./atomic_file.ts";
import { crc32c } from "./crc32c.ts";

/** In a variable, so that Deno fetches the package on first use only. */
const PACKAGE = "npm:@bufbuild/protobuf@2.17.0/wire";

/** Field numbers of the messages, from TensorFlow's and TensorBoard's protos. */
const EVENT = {
  wallTime: 1,
  step: 2,
  fileVersion: 3,
  summary: 5,
  sessionLog: 7,
} as const;
const SUMMARY = { value: 1 } as const;
const VALUE = { tag: 1, simpleValue: 2 } as const;
const SESSION_LOG = { status: 1 } as const;

/** `SessionLog.START`: TensorBoard forgets what it had from this step on. */
const START = 1;

/** Protobuf's kinds of fields, as the first bits of a field's key number them. */
const VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5;

/** The part of the library that is used here. */
interface Writer {
  tag(field: number, type: number): Writer;
  fork(): Writer;
  join(): Writer;
  double(value: number): Writer;
  float(value: number): Writer;
  int64(value: number): Writer;
  int32(value: number): Writer;
  string(value: string): Writer;
  finish(): Uint8Array;
}

/** What an event can hold. */
export interface TensorBoardEvent {
  /** When it happened, in seconds since 1970. */
  wallTime: number;
  /** The training step. */
  step?: number;
  /** The file's format; the first event of a file has `brain.Event:2`. */
  fileVersion?: string;
  /** Numbers by name. */
  scalars?: Readonly<Record<string, number>>;
  /** Whether a resumed run starts here. */
  start?: boolean;
}

/** How an event file is opened. */
export interface EventWriterOptions {
  /**
   * For a resumed run: the first step that will be written again. TensorBoard
   * drops what earlier files have from there on.
   */
  purgeStep?: number;
  /** The clock, in milliseconds since 1970. */
  now?: () => number;
}

/**
 * Appends scalars to an event file. Close it, or open it with `using`.
 *
 * @example
 * ```ts
 * import { EventWriter } from "./tensorboard.ts";
 * const folder = await Deno.makeTempDir();
 * {
 *   using events = await EventWriter.open(folder);
 *   events.write(1, { "train/loss": 2.3 });
 * }
 * const [file] = Deno.readDirSync(folder);
 * if (!file.name.startsWith("events.out.tfevents.")) throw new Error(file.name);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export class EventWriter implements Disposable {
  /** The file's path. */
  readonly path: string;
  #file: Deno.FsFile;
  #encode: (event: TensorBoardEvent) => Uint8Array;
  #now: () => number;
  #bytes = 0;

  private constructor(
    path: string,
    encode: (event: TensorBoardEvent) => Uint8Array,
    now: () => number,
  ) {
    this.path = path;
    this.#encode = encode;
    this.#now = now;
    try {
      this.#file = Deno.openSync(path, { write: true, createNew: true });
    } catch (error) {
      throw describeWriteError(error, path, 0);
    }
  }

  /** Makes a new event file in a folder that exists. */
  static async open(
    folder: string,
    options: EventWriterOptions = {},
  ): Promise<EventWriter> {
    checkOptions("open an event file", options, {
      purgeStep: true,
      now: true,
    });
    const { purgeStep, now = Date.now } = options;
    const encode = await loadEncoder();
    const opened = now();
    const seconds = Math.floor(opened / 1000);
    const path = `${folder}/events.out.tfevents.${seconds}.decaf.${Deno.pid}.${
      opened % 1000
    }`;
    const writer = new EventWriter(path, encode, now);
    writer.#append({ wallTime: opened / 1000, fileVersion: "brain.Event:2" });
    if (purgeStep !== undefined) {
      writer.#append({ wallTime: now() / 1000, step: purgeStep, start: true });
    }
    return writer;
  }

  /** Writes numbers by name, such as `train/loss`, for a step. */
  write(step: number, scalars: Readonly<Record<string, number>>): void {
    this.#append({ wallTime: this.#now() / 1000, step, scalars });
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  #append(event: TensorBoardEvent): void {
    const record = frameRecord(this.#encode(event));
    try {
      let written = 0;
      while (written < record.length) {
        written += this.#file.writeSync(record.subarray(written));
      }
      this.#bytes += record.length;
    } catch (error) {
      // A record that is not whole would hide all that follow it.
      this.#file.truncateSync(this.#bytes);
      throw describeWriteError(error, this.path, this.#bytes + record.length);
    }
  }
}

/**
 * Frames a record as TensorFlow's record files do: its length, the checksum of
 * the length, the record, its checksum. Lengths are 64 bits, checksums 32, all
 * little-endian; checksums are rotated and offset, so that a checksum of bytes
 * that hold checksums stays useful.
 */
export function frameRecord(record: Uint8Array): Uint8Array {
  const out = new Uint8Array(record.length + 16);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(record.length), true);
  view.setUint32(8, masked(crc32c(out.subarray(0, 8))), true);
  out.set(record, 12);
  view.setUint32(12 + record.length, masked(crc32c(record)), true);
  return out;
}

/** Loads the library, and gives a function that encodes events. */
export async function loadEncoder(): Promise<
  (event: TensorBoardEvent) => Uint8Array
> {
  const { BinaryWriter }: { BinaryWriter: new () => Writer } = await import(
    PACKAGE
  );
  return (event) => encodeEvent(new BinaryWriter(), event);
}

function encodeEvent(writer: Writer, event: TensorBoardEvent): Uint8Array {
  const { wallTime, step, fileVersion, scalars, start } = event;
  writer.tag(EVENT.wallTime, FIXED64).double(wallTime);
  if (step !== undefined) writer.tag(EVENT.step, VARINT).int64(step);
  if (fileVersion !== undefined) {
    writer.tag(EVENT.fileVersion, BYTES).string(fileVersion);
  }
  if (scalars !== undefined) {
    writer.tag(EVENT.summary, BYTES).fork();
    for (const [tag, value] of Object.entries(scalars)) {
      writer.tag(SUMMARY.value, BYTES).fork();
      writer.tag(VALUE.tag, BYTES).string(tag);
      writer.tag(VALUE.simpleValue, FIXED32).float(value);
      writer.join();
    }
    writer.join();
  }
  if (start) {
    writer.tag(EVENT.sessionLog, BYTES).fork();
    writer.tag(SESSION_LOG.status, VARINT).int32(START).join();
  }
  return writer.finish();
}

function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
