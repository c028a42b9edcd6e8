/** Writes ONNX models of a few nodes: just enough to time single operators. */

/** A node: its operator, the names of its inputs and outputs, and integer-list attributes. */
export interface Node {
  op: string;
  inputs: string[];
  outputs: string[];
  ints?: Record<string, number[]>;
}

type Field = readonly [number: number, value: number | string | Uint8Array];

function varint(value: number): number[] {
  const bytes: number[] = [];
  while (value > 127) {
    bytes.push(value % 128 + 128);
    value = Math.floor(value / 128);
  }
  return [...bytes, value];
}

/** A protobuf message of integer, text and nested fields. */
function message(...fields: Field[]): Uint8Array {
  const bytes: number[] = [];
  for (const [number, value] of fields) {
    if (typeof value === "number") {
      bytes.push(...varint(number * 8), ...varint(value));
    } else {
      const body = typeof value === "string"
        ? new TextEncoder().encode(value)
        : value;
      bytes.push(...varint(number * 8 + 2), ...varint(body.length), ...body);
    }
  }
  return Uint8Array.from(bytes);
}

const FLOAT = 1;
const INTS = 7;

function attribute([name, values]: [string, number[]]): Field {
  const ints = values.map((value): Field => [8, value]);
  return [5, message([1, name], ...ints, [20, INTS])];
}

function node({ op, inputs, outputs, ints = {} }: Node): Field {
  return [
    1,
    message(
      ...inputs.map((name): Field => [1, name]),
      ...outputs.map((name): Field => [2, name]),
      [4, op],
      ...Object.entries(ints).map(attribute),
    ),
  ];
}

function value(field: number, name: string, shape: number[]): Field {
  const dims = shape.map((size): Field => [1, message([1, size])]);
  const tensor = message([1, FLOAT], [2, message(...dims)]);
  return [field, message([1, name], [2, message([1, tensor])])];
}

/** The bytes of a model with float inputs and one float output, for operator set 20. */
export function onnxModel(
  nodes: Node[],
  inputs: Record<string, number[]>,
  output: [name: string, shape: number[]],
): Uint8Array {
  const graph = message(
    ...nodes.map(node),
    [2, "peer"],
    ...Object.entries(inputs).map(([name, shape]) => value(11, name, shape)),
    value(12, ...output),
  );
  return message([1, 9], [7, graph], [8, message([1, ""], [2, 20])]);
}
