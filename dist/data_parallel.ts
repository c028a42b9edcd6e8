/**
 * Data parallelism: every device has the whole model and a part of the batch;
 * gradients are summed among them while the backward pass goes on.
 *
 * @module
 */

import type { Mark } from "../core/collectives.ts";
import { backward, noGrad, registerHook } from "../core/autograd.ts";
import { withFreshCasts } from "../core/cast_state.ts";
import { checkOptions } from "../core/options.ts";
import { persist, Scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import type { AnyModule } from "../nn/mod.ts";
import { cast, fill, to } from "../ops/foundation.ts";
import type { Optimizer } from "../optim/mod.ts";
import { Arrivals, bucketsOf } from "./buckets.ts";
import { processGroup } from "./groups.ts";
import { ProcessGroup } from "./process_group.ts";
import { Replica } from "./replica.ts";
import { boundaries, countOf, type GivenBatch, shard } from "./shards.ts";
import type { Work } from "./work.ts";

/** Options of {@linkcode dataParallel}. */
export interface DataParallelOptions {
  /** Bytes of gradients that travel together; 25 MiB when omitted. */
  bucketBytes?: number;
}

/** What one device computed of a batch. */
export interface Shard {
  /** Rank of the device. */
  readonly rank: number;
  /** Its part of the inputs. */
  readonly inputs: Tensor;
  /** Its part of the targets. */
  readonly targets: Tensor;
  /** What the model gave. */
  readonly output: Tensor;
  /** Mean loss of the part, one element. */
  readonly loss: Tensor;
  /** Share of the part in the batch of this process, from 0 to 1. */
  readonly share: number;
}

/** Computes the mean loss of a batch from the model's output and the targets. */
export type ShardLoss = (output: Tensor, targets: Tensor) => Tensor;

/** One device's part of a batch. */
interface Part {
  /** Which device. */
  readonly index: number;
  /** First example. */
  readonly start: number;
  /** Where the next part starts. */
  readonly end: number;
  readonly batch: GivenBatch;
  readonly loss: ShardLoss;
  readonly scale: number;
}

/** The gradients of a batch on their way to all devices. */
interface Exchange {
  readonly arrivals: Arrivals;
  /** Marks by bucket and rank: how far the device's work was when the bucket was complete. */
  readonly marks: (Mark | undefined)[][];
  readonly works: Work<Tensor[]>[];
  /** Buckets that are on their way. */
  started: number;
}

/**
 * A model and its optimizer on several devices. The tensors of the given model
 * are those of the first device; checkpoints hold them alone.
 *
 * @example
 * ```ts
 * import { crossEntropy, dist, nn, optim, tensor } from "@decaf/decaf";
 *
 * const model = nn.linear(2, 2);
 * const optimizer = optim.sgd(model, { lr: 0.1 });
 * using parallel = dist.dataParallel(model, optimizer, ["cpu", "cpu"]);
 * const batch = {
 *   inputs: tensor([[1, 0.5], [0, 1], [1, 1], [0.5, 0]]),
 *   targets: tensor([0, 1, 1, 0], { dtype: "i32" }),
 * };
 * const shards = parallel.backward(batch, crossEntropy);
 * parallel.step();
 * if (shards.length !== 2) throw new Error("two examples for each device");
 * ```
 */
export class DataParallel implements Disposable {
  /** The ranks among which gradients are summed. */
  readonly group: ProcessGroup;
  readonly #model: AnyModule;
  readonly #replicas: Replica[] = [];
  readonly #bucketBytes: number;
  readonly #ownGroup: boolean;
  #buckets: number[][];
  #ordered = false;
  #active = 0;
  #exchange: Exchange | undefined;
  #last: readonly Work<Tensor[]>[] = [];

  /**
   * Copies the model to all devices; {@linkcode dataParallel} is shorter.
   *
   * @param model What learns; its tensors are on the first device.
   * @param optimizer Updates its parameters.
   * @param devices Devices of this process, or a group that may span processes.
   * @param options Size of buckets.
   */
  constructor(
    model: AnyModule,
    optimizer: Optimizer,
    devices: readonly string[] | ProcessGroup,
    options: DataParallelOptions = {},
  ) {
    checkOptions("train on several devices", options, { bucketBytes: true });
    const { bucketBytes = 25 * 2 ** 20 } = options;
    if (!(bucketBytes > 0)) {
      throw new RangeError(
        `Cannot exchange gradients in buckets of ${bucketBytes} bytes: give a number above 0`,
      );
    }
    this.#model = model;
    this.#bucketBytes = bucketBytes;
    const parameters = model.parameters();
    const order = parameters.map((_, i) => parameters.length - 1 - i);
    this.#buckets = bucketsOf(parameters, order, bucketBytes);
    this.#ownGroup = !(devices instanceof ProcessGroup);
    this.group = devices instanceof ProcessGroup
      ? devices
      : processGroup(devices);
    try {
      requirePlace(model, this.group.devices[0].name);
      for (const device of this.group.devices) {
        const primary = this.#replicas.length === 0;
        this.#replicas.push(new Replica(model, optimizer, device, primary));
      }
      this.synchronize();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Names of the devices of this process. */
  get devices(): readonly string[] {
    return this.group.devices.map((d) => d.name);
  }

  /** What updates the parameters of each device of this process. */
  get optimizers(): readonly Optimizer[] {
    return this.#replicas.map((replica) => replica.optimizer);
  }

  /**
   * Makes all devices equal to the first of rank 0: parameters, buffers, and
   * in this process the optimizer's state. Needed after any of them was
   * changed by something other than `backward` and `step`.
   */
  synchronize(): void {
    using _copying = new Scope();
    noGrad(() => {
      const [first, ...others] = this.#replicas;
      this.#broadcast((replica) => [
        ...replica.parameters,
        ...replica.buffers,
      ]);
      const state = first.optimizer.stateDict();
      for (const { optimizer, device } of others) {
        const tensors = Object.fromEntries(
          Object.entries(state.tensors).map(([name, tensor]) => [
            name,
            to(tensor, device.name),
          ]),
        );
        optimizer.loadStateDict({ ...state, tensors });
      }
    });
  }

  #broadcast(tensorsOf: (replica: Replica) => readonly Tensor[]): void {
    const all = this.#replicas.map(tensorsOf);
    if (this.group.worldSize === 1) return;
    const works = this.group.grouped(() =>
      all[0].map((_, i) =>
        this.group.broadcast(all.map((own) => own[i]), { inPlace: true })
      )
    );
    for (const work of works) work.wait();
  }

  /**
   * Runs `body` while the model computes with the tensors of a device of this
   * process, which is the default device meanwhile.
   *
   * @param index Which device, from 0.
   * @param body Runs at once; it must not await.
   */
  on<T>(index: number, body: () => T): T {
    this.#active = index;
    try {
      return withFreshCasts(() => this.#replicas[index].during(body));
    } finally {
      this.#active = 0;
    }
  }

  /**
   * Forward and backward of a batch, a part on each device. Afterwards the
   * gradients on every device are those of the mean loss of the whole batch;
   * gradients from before are dropped. Buffers, such as running statistics,
   * start out as those of rank 0 and see only the device's part.
   *
   * @param batch Examples of this process.
   * @param loss Mean loss of a part.
   * @param scale Factor on all gradients, as f16 needs it; 1 when omitted.
   * @throws {ShapeError} when inputs and targets differ in number.
   * @throws {CollectiveError} when the group has failed.
   */
  backward(batch: GivenBatch, loss: ShardLoss, scale = 1): Shard[] {
    const count = countOf(batch);
    const parts = this.#replicas.length;
    const limits = boundaries(count, parts);
    for (const replica of this.#replicas) replica.zeroGrad();
    if (this.#model.training) noGrad(() => this.#broadcast((r) => r.buffers));
    const exchange: Exchange = {
      arrivals: new Arrivals(this.#buckets, parts),
      marks: this.#buckets.map(() => []),
      works: [],
      started: 0,
    };
    this.#exchange = exchange;
    let shards: Shard[];
    try {
      shards = this.#replicas.flatMap((_, i) => {
        const start = limits[i], end = limits[i + 1];
        if (start === end) return [];
        const part = { index: i, start, end, batch, loss, scale };
        return [this.on(i, () => this.#part(part))];
      });
      this.#departRest(exchange);
    } catch (error) {
      // This is what went wrong first, whatever else may follow from it.
      this.#end(exchange);
      for (const replica of this.#replicas) replica.zeroGrad();
      throw error;
    }
    const refused = this.#end(exchange);
    if (refused !== undefined) throw refused.error;
    return shards;
  }

  /** Has the devices wait for all that was sent; the first error, if there is one. */
  #end({ marks, works }: Exchange): { error: unknown } | undefined {
    let refused: { error: unknown } | undefined;
    for (const mark of marks.flat()) mark?.release();
    for (const work of works) {
      try {
        work.wait();
      } catch (error) {
        refused ??= { error };
      }
    }
    this.#last = works;
    this.#exchange = undefined;
    return refused;
  }

  /**
   * Waits until the gradients of the last batch are on all devices.
   *
   * @throws {CollectiveError} when that takes too long, or a peer is gone.
   */
  finish(): void {
    for (const work of this.#last) work.finishSync();
    this.#last = [];
  }

  /** Forward and backward of one device. */
  #part({ index, start, end, batch, loss: lossOf, scale }: Part): Shard {
    const { device } = this.#replicas[index];
    const { ranks, worldSize } = this.group;
    const inputs = shard(batch.inputs, start, end, device);
    const targets = shard(batch.targets, start, end, device);
    const output = this.#model.forward(inputs) as Tensor;
    const loss = lossOf(output, targets);
    const share = (end - start) / countOf(batch);
    // Sums of shares of gradients are the gradient of the mean.
    const weight = scale * share * ranks.length / worldSize;
    const unhook = this.#model.parameters().flatMap((parameter, i) =>
      parameter.requiresGrad
        ? [registerHook(parameter, (grad) => this.#arrived(index, i, grad))]
        : []
    );
    try {
      const half = loss.dtype === "f16" || loss.dtype === "bf16";
      const wide = half ? cast(loss, "f32") : loss;
      const seed = fill(loss.shape, weight, wide.dtype, device);
      backward(wide, { seed });
    } finally {
      for (const remove of unhook) remove();
    }
    return { rank: ranks[index], inputs, targets, output, loss, share };
  }

  /** A gradient is known: when it completes a bucket, the bucket may leave. */
  #arrived(index: number, parameter: number, grad: Tensor): void {
    const exchange = this.#exchange!;
    // What arrived before is in its place by now.
    this.#depart(exchange);
    grad.materialize();
    const bucket = exchange.arrivals.add(index, parameter);
    if (bucket === undefined) return;
    exchange.marks[bucket][index] = this.group.mark(this.group.ranks[index]);
  }

  /** Starts the buckets that are complete on all devices, in order. */
  #depart(exchange: Exchange): void {
    const { arrivals, marks } = exchange;
    for (
      let b = exchange.started;
      b < arrivals.buckets.length && arrivals.complete(b);
      b++
    ) {
      this.#send(exchange, arrivals.buckets[b], marks[b] as Mark[]);
      exchange.started = b + 1;
    }
  }

  #send(
    { works }: Exchange,
    bucket: readonly number[],
    after?: readonly Mark[],
  ): void {
    const { group } = this;
    if (group.worldSize === 1) return;
    works.push(...group.grouped(() =>
      bucket.map((i) => {
        const grads = this.#replicas.map((_, r) => this.#grad(r, i)!);
        return group.allReduce(grads, { inPlace: true });
      }), after));
  }

  /** The gradient of a parameter on a device, also while the model computes with another one's tensors. */
  #grad(index: number, parameter: number): Tensor | undefined {
    const active = this.#active;
    const at = index === active ? 0 : index === 0 ? active : index;
    return this.#replicas[at].parameters[parameter].grad;
  }

  /** Sends what has not left: buckets with parameters that the loss does not depend on. */
  #departRest(exchange: Exchange): void {
    const { arrivals } = exchange;
    this.#depart(exchange);
    for (const bucket of arrivals.buckets.slice(exchange.started)) {
      const used = bucket.filter((i) => this.#complete(i));
      if (used.length > 0) this.#send(exchange, used);
    }
    exchange.started = arrivals.buckets.length;
    this.#reorder(arrivals.order);
  }

  /** Whether a parameter has a gradient somewhere; devices that have none get zeros. */
  #complete(parameter: number): boolean {
    const all = this.#replicas.map((r) => r.parameters[parameter]);
    const alone = this.group.ranks.length === this.group.worldSize;
    const wanted = all[0].requiresGrad &&
      (!alone || all.some((p) => p.grad !== undefined));
    if (!wanted) return false;
    for (const p of all) {
      p.grad ??= persist(
        fill(p.shape, 0, p.dtype, p.device).materialize(),
      );
    }
    return true;
  }

  /** After the first batch, buckets follow the order in which gradients came. */
  #reorder(order: readonly number[]): void {
    // Processes would have to agree on it.
    const alone = this.group.ranks.length === this.group.worldSize;
    if (this.#ordered || !alone) return;
    this.#ordered = true;
    const { parameters } = this.#replicas[0];
    const unused = parameters.map((_, i) => i).filter((i) =>
      !order.includes(i)
    );
    this.#buckets = bucketsOf(
      parameters,
      [...order, ...unused],
      this.#bucketBytes,
    );
  }

  /**
   * Whether something holds in every process of the group, all of which must
   * ask at this point; waits for their answers.
   *
   * @param here Whether it holds in this one.
   * @throws {CollectiveError} when that takes too long, or a peer is gone.
   */
  agree(here: boolean): boolean {
    const { group } = this;
    if (group.ranks.length === group.worldSize) return here;
    using _asking = new Scope();
    return noGrad(() => {
      const not = Number(!here);
      const answers = group.devices.map((d) => fill([1], not, "i32", d));
      const [no] = group.allReduce(answers, { op: "max" }).finishSync();
      return no.item() === 0;
    });
  }

  /** Takes an optimizer step on every device. */
  step(): void {
    const [first, ...others] = this.#replicas;
    for (const { optimizer } of others) optimizer.follow(first.optimizer);
    for (const { optimizer } of this.#replicas) optimizer.step();
  }

  /** Frees the copies on other devices. The model and its optimizer stay as they are. */
  [Symbol.dispose](): void {
    for (const replica of this.#replicas) {
      replica.zeroGrad();
      replica[Symbol.dispose]();
    }
    if (this.#ownGroup) this.group[Symbol.dispose]();
  }
}

/** Refuses a model that has tensors elsewhere. */
function requirePlace(model: AnyModule, device: string): void {
  const elsewhere = [...model.parameters(), ...model.buffers()].find((t) =>
    t.device.name !== device
  );
  if (elsewhere === undefined) return;
  throw new TypeError(
    `Cannot train a model on ${elsewhere.device.name} in parallel from ${device} on: move it first, with model.to("${device}")`,
  );
}

/**
 * Trains a model on several devices at once: each takes a part of the batch.
 *
 * @param model What learns; its tensors are on the first device.
 * @param optimizer Updates its parameters.
 * @param devices Names of devices, or a process group.
 * @throws {TypeError} when the model is elsewhere, or the devices cannot be joined.
 */
export function dataParallel(
  model: AnyModule,
  optimizer: Optimizer,
  devices: readonly string[] | ProcessGroup,
  options: DataParallelOptions = {},
): DataParallel {
  return new DataParallel(model, optimizer, devices, options);
}
