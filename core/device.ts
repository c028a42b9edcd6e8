/**
 * What a device must offer: memory, launches of row programs, and the few
 * computations that are no row programs. Everything else is built on these.
 *
 * @module
 */

import type { Collectives } from "./collectives.ts";
import type { NormKernels } from "./norm_kernels.ts";
import type {
  ActivatedProduct,
  ActivatedProductGrad,
  Block,
  DeviceFlag,
  FactorSpec,
  Launch,
  MatmulSpec,
  PlanesSpec,
  ProductWithSums,
  ScaledProduct,
  ScanSpec,
  ScatterSpec,
  SortSpec,
  WindowSpec,
} from "./device_specs.ts";
import type { DType } from "./dtype.ts";
import type { AttentionKernels, RecurrentKernels } from "./sequence_kernels.ts";

export type * from "./device_specs.ts";

/** A block of device memory with an owner count. */
export class Storage {
  /** Number of values that use the block. */
  owners = 1;
  /** What is noted about the block while the garbage collector may return it. */
  guard: GuardedBlock | undefined = undefined;

  /**
   * Describes a block that the device has reserved.
   *
   * @param device Device that owns the memory.
   * @param address Byte address on the device.
   * @param bytes Size in bytes.
   */
  constructor(
    /** Device that owns the memory. */
    readonly device: Device,
    /** Byte address on the device. */
    public address: number,
    /** Size in bytes. */
    readonly bytes: number,
  ) {}

  /** Gives up one ownership; the last one frees the block. */
  release(): void {
    if (--this.owners > 0) return;
    unguard(this);
    this.device.free(this);
  }
}

/**
 * Fast paths that a device may offer. One that answers false has done nothing
 * and does not take such operands; the operator then falls back to its
 * composed definition.
 */
export interface DeviceKernels {
  /** Whether windows are also taken with channels last; operators do not ask otherwise. */
  readonly channelsLast?: boolean;
  /** Normalisations. */
  readonly normalization?: NormKernels;
  /** Recurrent networks whose layers run at once. */
  readonly recurrent?: RecurrentKernels;
  /** Attention that never stores its scores. */
  readonly attention?: AttentionKernels;
  /** Convolution: y = x ⋆ w (+ bias per channel). */
  conv?(
    spec: WindowSpec,
    x: Block,
    w: Block,
    bias: Block | undefined,
    y: Block,
  ): boolean;
  /** Convolution, then an activation: y = f(x ⋆ w (+ bias per channel)). */
  convActivated?(
    spec: WindowSpec,
    activation: "relu" | "gelu" | "geluTanh",
    x: Block,
    w: Block,
    bias: Block | undefined,
    y: Block,
  ): boolean;
  /** Gradient of a convolution with respect to its input. */
  convInputGrad?(spec: WindowSpec, dy: Block, w: Block, dx: Block): boolean;
  /** Gradient of a convolution with respect to its filters. */
  convWeightGrad?(spec: WindowSpec, x: Block, dy: Block, dw: Block): boolean;
  /** Largest value of each window, with its flat position in the plane (i64). */
  maxPool?(spec: WindowSpec, x: Block, y: Block, indices: Block): boolean;
  /** Largest value of each window. */
  maxima?(spec: WindowSpec, x: Block, y: Block): boolean;
  /** Mean of each window; padding counts in what the sum is divided by, or it does not. */
  meanPool?(
    spec: WindowSpec,
    includePad: boolean,
    x: Block,
    y: Block,
  ): boolean;
  /** Gradient of the mean of each window. */
  meanPoolGrad?(
    spec: WindowSpec,
    includePad: boolean,
    dy: Block,
    dx: Block,
  ): boolean;
  /** Adds each value to the position in its plane that `indices` (i64) says; the planes are overwritten. */
  placeAt?(
    spec: PlanesSpec,
    values: Block,
    indices: Block,
    planes: Block,
  ): boolean;
  /** A product that ends with an activation; false when the device does not take it. */
  activatedProduct?(spec: ActivatedProduct): boolean;
  /** Gradient through a product and the activation before it; false when the device does not take it. */
  activatedProductGrad?(spec: ActivatedProductGrad): boolean;
  /** A product of numbers of eight bits; false when the device does not take it. */
  scaledProduct?(spec: ScaledProduct): boolean;
  /** A product and the row sums of its left factor; false when the device does not take it. */
  productWithSums?(spec: ProductWithSums): boolean;
}

/** Counters of a device's memory. */
export interface DeviceStats {
  /** Bytes in live storages. */
  readonly liveBytes: number;
  /** Largest value that `liveBytes` had. */
  readonly peakBytes: number;
  /** Live storages. */
  readonly blocks: number;
  /** Bytes that the device can hold at most. */
  readonly limitBytes: number;
  /** Bytes taken from the system: those of live storages, what is idle, and what else is needed. */
  readonly reservedBytes: number;
}

/** Bytes that are on their way to the host. */
export interface LaterRead extends Disposable {
  /** Waits for all that was queued before the read, and gives the bytes of each part. */
  wait(): readonly Uint8Array<ArrayBuffer>[];
}

/** Bytes of a block. */
export interface BlockBytes {
  /** The block. */
  readonly storage: Storage;
  /** Where they start. */
  readonly byteOffset: number;
  /** How many. */
  readonly bytes: number;
}

/** A check of elements whose kernel has not run yet. */
export interface PendingCheck {
  /** The error where an element is wrong; may read from the device. */
  failed(): Error;
  /** Called once the flag was looked at. */
  release(): void;
}

/** A check whose kernel leaves its flag in a block. */
export interface DeferredCheck extends PendingCheck {
  /** One i32, not 0 where an element is wrong. */
  readonly flag: Block;
}

/** Captured work of a device. */
export interface DeviceGraph extends Disposable {
  /** Kernels, products and copies in it. */
  readonly size: number;
  /** Queues all of it once more, with new values of live scalars. */
  replay(): void;
}

/** Choices that hold for a device until they are changed. */
export interface DeviceOptions {
  /** Whether f32 products and convolutions may round their operands to TF32 (10 bits of mantissa). */
  tf32: boolean;
  /** Whether libraries time their algorithms instead of trusting their heuristics. */
  benchmark: boolean;
}

/** What took time on a device. */
export interface TimelineEntry {
  /** Kernel, library call or copy. */
  readonly name: string;
  /** Which queue of the device it was in: work of one lane runs one after the other. */
  readonly lane: string;
  /** When it began, in microseconds of `performance.now()`'s clock. */
  readonly start: number;
  /** Microseconds that it took. */
  readonly duration: number;
  /** When the host asked for it, in the same clock. */
  readonly called: number;
  /** When the host had asked for it, and went on. */
  readonly returned: number;
  /** What it was asked for, as the function given to `begin` said then. */
  readonly purpose: string | undefined;
}

/** The times of work on a device that runs behind the host. */
export interface Timeline {
  /** Starts to note what runs; `purpose` is called for each piece of work. */
  begin(purpose?: () => string | undefined): void;
  /** Waits for the device, and gives what was noted since; each lane in its order. */
  end(): readonly TimelineEntry[];
}

/** A place where tensors live and operators run. */
export interface Device {
  /** `cpu`, `cuda:0`, … */
  readonly name: string;
  /** Fast paths. */
  readonly kernels: DeviceKernels;
  /** Exchange of data among devices of this kind, where there is a library for it. */
  readonly collectives?: Collectives;
  /**
   * Reserves memory; contents are undefined. Throws an `OutOfMemoryError` when
   * there is none left.
   *
   * @param bytes How many.
   * @param written Whether the host is about to write all of it; then memory that no queued work uses serves best.
   */
  allocate(bytes: number, written?: boolean): Storage;
  /** Returns memory. Called by {@linkcode Storage.release}. */
  free(storage: Storage): void;
  /** Copies host bytes to the device. */
  write(storage: Storage, byteOffset: number, bytes: Uint8Array): void;
  /** Copies device bytes to the host, after all work queued before. */
  read(storage: Storage, byteOffset: number, bytes: Uint8Array): void;
  /**
   * Queues copies of device bytes to the host, which are waited for later,
   * when more work is queued; only on devices that run behind the host.
   */
  readLater?(parts: readonly BlockBytes[]): LaterRead;
  /**
   * Copies from a block of another device of this kind, or of this device,
   * without the host; answers false when it cannot.
   */
  copy?(
    target: Storage,
    targetOffset: number,
    source: Storage,
    sourceOffset: number,
    bytes: number,
  ): boolean;
  /** Runs a row program. */
  launch(launch: Launch): void;
  /** Runs launches of one program, none of which reads or writes what another writes; in few kernels, where a device can. */
  launchAll?(launches: readonly Launch[]): void;
  /** Multiplies matrices. */
  matmul(spec: MatmulSpec): void;
  /** Elements that a right factor takes in the order in which products read it; only on devices that gain by writing it so once. */
  packedElements?(factor: FactorSpec): number;
  /** Writes a right factor in that order, for `MatmulSpec.packed`. */
  packFactor?(factor: FactorSpec, into: Block): void;
  /** Scatters along an axis. */
  scatter(spec: ScatterSpec): void;
  /** Sorts rows. */
  sort(spec: SortSpec): void;
  /** Scans rows. */
  scan(spec: ScanSpec): void;
  /** Waits for all queued work. */
  synchronize(): void;
  /** Memory in use. */
  stats(): DeviceStats;
  /** Choices; only on devices that have any. */
  readonly options?: DeviceOptions;
  /** Times of what runs; only on devices that run behind the host. */
  readonly timeline?: Timeline;
  /** Looks at a flag at the next read or synchronisation; only on devices that run behind the host. */
  defer?(check: DeferredCheck): void;
  /** A flag for a kernel that is about to be launched, looked at likewise. */
  flag?(check: PendingCheck): DeviceFlag;
  /** Captures what `body` asks for instead of running it; only on devices that have graphs. */
  capture?(body: () => void): DeviceGraph;
  /** Frees everything that the device holds; tensors that live there are gone. */
  close?(): void;
}

/** Devices of one kind, counted from 0: `cuda:0`, `cuda:1`, … */
export interface DeviceFamily {
  /** Opens one of them. */
  open(ordinal: number): Device;
  /** Why there is none that works here; undefined when there is one. */
  unavailable(): string | undefined;
}

const devices = new Map<string, () => Device>();
const families = new Map<string, DeviceFamily>();
const opened = new Map<string, Device>();

/** Makes a device known by name; it is opened at its first use. */
export function registerDevice(name: string, open: () => Device): void {
  devices.set(name, open);
}

/** Makes devices known by names such as `cuda`, which means `cuda:0`, and `cuda:1`. */
export function registerFamily(name: string, family: DeviceFamily): void {
  families.set(name, family);
}

/** Names of the devices that can be asked for; `cuda` stands for `cuda:0`, `cuda:1` and so on. */
export function deviceNames(): string[] {
  return [...devices.keys(), ...families.keys()];
}

/** What a name means: the device's own name, its family and its number there. */
function parse(name: string) {
  const [, kind, digits] = /^(\w+?)(?::(\d+))?$/.exec(name) ?? [];
  const family = families.get(kind);
  const ordinal = Number(digits ?? 0);
  return family && { own: `${kind}:${ordinal}`, family, ordinal };
}

/** Whether there may be a device of that name: its kind is known. */
export function isDeviceName(name: string): boolean {
  return name === "auto" || devices.has(name) || parse(name) !== undefined;
}

/**
 * The device of a name: `cpu`, `cuda` (which is `cuda:0`), `cuda:1`, or `auto`,
 * the one that {@linkcode chooseDevice} names.
 *
 * @throws {RangeError} when there is no device of that name.
 */
export function getDevice(name: string): Device {
  return opened.get(name) ?? openDevice(name);
}

/** Says that there is no device of a name, and which there are. */
export function unknownDevice(name: string): string {
  const members = [...families.keys()].flatMap((f) => [f, `${f}:1`]);
  const names = [...devices.keys(), ...members, "auto"];
  return `Cannot use device "${name}": there is none of that name; there is ${
    devices.size > 0 ? names.join(", ") : "none at all (import mod.ts)"
  }`;
}

function openDevice(name: string): Device {
  if (name === "auto") return getDevice(chooseDevice().name);
  const member = parse(name);
  const open = devices.get(name) ??
    (member && (() => member.family.open(member.ordinal)));
  if (open === undefined) {
    throw new RangeError(unknownDevice(name));
  }
  const own = member?.own ?? name;
  let device = opened.get(own);
  if (device === undefined) opened.set(own, device = open());
  return device;
}

/** A device, and why it was chosen. */
export interface DeviceChoice {
  /** Name of the device. */
  readonly name: string;
  /** Why it was chosen, in words. */
  readonly reason: string;
}

/** The device that `auto` means: a GPU where one works, else the CPU. */
export function chooseDevice(): DeviceChoice {
  const reasons: string[] = [];
  for (const [name, family] of families) {
    const reason = family.unavailable();
    if (reason === undefined) {
      return { name: `${name}:0`, reason: `${name} works here` };
    }
    reasons.push(reason);
  }
  return { name: "cpu", reason: reasons.join("; ") };
}

/** Frees everything that a device holds; at its next use it is opened again. */
export function closeDevice(name: string): void {
  const own = parse(name)?.own ?? name;
  const device = opened.get(own);
  opened.delete(own);
  device?.close?.();
}

/** Devices that were used in this process. */
export function openDevices(): Device[] {
  return [...opened.values()];
}

let current = "cpu";

/** Sets the device on which new tensors are made; `auto` chooses one. */
export function setDefaultDevice(name: string): void {
  current = getDevice(name).name;
}

/** The device on which new tensors are made. */
export function defaultDevice(): Device {
  return getDevice(current);
}

/** A block that nobody may release explicitly, as the backstop and error messages need to know it. */
export interface GuardedBlock extends BlockOrigin {
  /** Device that owns the memory. */
  readonly device: Device;
  /** Byte address on the device. */
  readonly address: number;
  /** Size in bytes. */
  readonly bytes: number;
}

/** What a block was made for. */
export interface BlockOrigin {
  /** Element type. */
  readonly dtype: DType;
  /** Extents. */
  readonly shape: readonly number[];
  /** Operator or role, where known. */
  madeBy: string | undefined;
}

const guarded = new Set<GuardedBlock>();

/** Every guarded block that is live. */
export function guardedBlocks(): ReadonlySet<GuardedBlock> {
  return guarded;
}

// The backstop: a storage that nobody released is freed when the garbage
// collector finds it (never inside a synchronous loop; scopes are the rule).
const backstop = new FinalizationRegistry<GuardedBlock>((block) => {
  guarded.delete(block);
  const { device, address, bytes } = block;
  device.free(new Storage(device, address, bytes));
});

/** Frees the storage when it is garbage collected, if nobody did before. */
export function guard(storage: Storage, origin: BlockOrigin): void {
  const { dtype, shape, madeBy } = origin;
  if (storage.guard !== undefined) {
    storage.guard.madeBy ??= madeBy;
    return;
  }
  const { device, address, bytes } = storage;
  const block = { device, address, bytes, dtype, shape, madeBy };
  storage.guard = block;
  guarded.add(block);
  backstop.register(storage, block, storage);
}

/** Ends the guard of a storage that was freed by its owners. */
function unguard(storage: Storage): void {
  if (storage.guard === undefined) return;
  guarded.delete(storage.guard);
  storage.guard = undefined;
  backstop.unregister(storage);
}
