/**
 * Graphs that tests on the stand-in build, written down so that the real
 * library can be asked for the same.
 *
 * @module
 */

import type { Descriptor, GraphTensor } from "../devices/cuda/dnn/graph.ts";
import { Graph } from "../devices/cuda/dnn/graph.ts";
import { observer } from "../devices/cuda/dnn/dnn.ts";
import {
  AttributeName,
  AttributeType,
  DescriptorType,
} from "../ffi/cudnn_enums.ts";

/** Appends each graph that plans are looked for to a file, once, as a line. */
export function recordGraphs(file: string): void {
  const seen = new Set<string>();
  observer.wanted = ({ operations }) => {
    const line = JSON.stringify(operations);
    if (seen.has(line)) return;
    seen.add(line);
    Deno.writeTextFileSync(file, `${line}\n`, { append: true, create: true });
  };
}

/** The graph of a line. Descriptors that say the same are the same: tensors have numbers. */
export function readGraph(line: string): Graph {
  const known = new Map<string, Descriptor>();
  const graph = new Graph();
  const revive = (written: Descriptor): Descriptor => {
    const text = JSON.stringify(written);
    const found = known.get(text);
    if (found !== undefined) return found;
    const made: Descriptor = {
      kind: written.kind,
      attributes: written.attributes.map((a) => ({
        ...a,
        values: a.type === AttributeType.BACKEND_DESCRIPTOR
          ? (a.values as readonly Descriptor[]).map(revive)
          : a.values,
      })),
    };
    known.set(text, made);
    if (made.kind === DescriptorType.TENSOR_DESCRIPTOR) {
      const numbers = (name: number) =>
        made.attributes.find((a) => a.name === name)?.values as number[];
      const uid = numbers(AttributeName.TENSOR_UNIQUE_ID)[0];
      if (numbers(AttributeName.TENSOR_IS_VIRTUAL) === undefined) {
        graph.bound.push({ ...made, uid } as unknown as GraphTensor);
      }
    }
    return made;
  };
  for (const operation of JSON.parse(line) as Descriptor[]) {
    graph.operations.push(revive(operation));
  }
  return graph;
}

/** What a graph is about, in few words. */
export function describe({ operations, bound }: Graph): string {
  const names = operations.map(({ kind }) =>
    Object.entries(DescriptorType).find(([, value]) => value === kind)?.[0]
      .replace(/^OPERATION_|_DESCRIPTOR$/g, "") ?? `${kind}`
  );
  const tensors = bound.map(({ attributes }) => {
    const of = (name: number) =>
      attributes.find((a) => a.name === name)?.values.join(",");
    return `${of(AttributeName.TENSOR_DATA_TYPE)}[${
      of(AttributeName.TENSOR_DIMENSIONS)
    }:${of(AttributeName.TENSOR_STRIDES)}]`;
  });
  return `${names.join(" ")} ${tensors.join(" ")}`;
}
