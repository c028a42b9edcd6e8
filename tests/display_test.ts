/** What a tensor shows of itself: as text, like PyTorch's, and in notebooks. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  arange,
  type DType,
  fromHost,
  nn,
  ones,
  optim,
  rand,
  type Tensor,
  tensor,
} from "../mod.ts";
import { hostArray, setElement } from "../core/dtype.ts";
import { type MediaBundle, mediaBundle } from "../data/display.ts";
import { decodeImage } from "../data/image_file.ts";

interface Row {
  shape: number[];
  dtype: DType;
  data: (number | string)[] | string;
  grad: boolean;
  text: string;
}

const rows: Row[] = Deno.readTextFileSync(
  new URL("./golden/print/values.jsonl", import.meta.url),
).trim().split("\n").slice(1).map((line) => JSON.parse(line));

// As in tests/golden/print/make.py.
const formulas: Record<string, (i: number) => number> = {
  count: (i) => i,
  eighths: (i) => ((i * 37) % 101 - 50) / 8,
  wide: (i) => ((i * 37) % 101 - 50) * 10 ** ((i * 7) % 9 - 4),
  flags: (i) => Number((i * i) % 3 === 1),
};

function elements({ data, shape }: Row): number[] {
  if (typeof data !== "string") {
    return data.map((v) =>
      Number(v === "inf" ? Infinity : v === "-inf" ? -Infinity : v)
    );
  }
  const size = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length: size }, (_, i) => formulas[data](i));
}

const torchNames: Record<string, DType> = {
  float64: "f64",
  float16: "f16",
  bfloat16: "bf16",
  int64: "i64",
  int32: "i32",
  int8: "i8",
  uint8: "u8",
  bool: "bool",
};

/** PyTorch's text in the names of this library. */
function translate(text: string): string {
  return text
    .replace(/dtype=torch\.(\w+)/, (_, name) => `dtype=${torchNames[name]}`)
    .replace("requires_grad=True", "requiresGrad=true")
    .replace(/size=\(([^)]*?),?\)/, "shape=[$1]")
    .replaceAll("True", "true")
    .replaceAll("False", "false");
}

/** Longer names break lines elsewhere: what follows the values goes on one line. */
function joined(text: string): string {
  return text.replace(/,\n {7}(?=[a-z])/gi, ", ");
}

function make(row: Row): Tensor {
  const values = elements(row);
  const host = hostArray(row.dtype, values.length);
  values.forEach((v, i) => setElement(host, row.dtype, i, v));
  return fromHost(host, row.dtype, row.shape, { requiresGrad: row.grad });
}

Deno.test("display: tensors print as PyTorch prints them", () => {
  assert(rows.length > 150);
  for (const row of rows) {
    const { shape, dtype, data } = row;
    assertEquals(
      joined(`${make(row)}`),
      joined(translate(row.text)),
      `${dtype} [${shape}] ${data}`,
    );
  }
});

Deno.test("display: consoles show the text, with what made the tensor", () => {
  const x = tensor([1, 2.5], { requiresGrad: true });
  assertEquals(Deno.inspect(x), "tensor([1.0000, 2.5000], requiresGrad=true)");
  assertEquals(
    Deno.inspect({ y: x.mul(2) }),
    '{ y: tensor([2., 5.], gradOf="mul") }',
  );
  assertEquals(
    `${x.detach().reshape([2, 1])}`,
    "tensor([[1.0000],\n        [2.5000]])",
  );
  assertStringIncludes(Deno.inspect(nn.linear(2, 3)), "Linear");
  assertEquals(
    Deno.inspect(optim.momentumSgd(nn.linear(2, 3), { lr: 0.5 })),
    "momentumSgd (step 0, 2 parameters: lr 0.5, weightDecay 0, momentum 0.9, nesterov false)",
  );
});

/** What Deno's kernel asks of the last value of a cell. */
async function shown(x: Tensor): Promise<MediaBundle> {
  const internal = (Deno as unknown as Record<symbol, {
    jupyter: {
      formatInner(value: unknown, raw: boolean): Promise<MediaBundle>;
    };
  }>)[(Deno as unknown as { internal: symbol }).internal];
  return await internal.jupyter.formatInner(x, false);
}

async function pixels(bundle: MediaBundle, channels: 1 | 3) {
  const bytes = Uint8Array.fromBase64(bundle["image/png"]!);
  const { data, shape } = await decodeImage(bytes, { channels });
  return { data: Array.from(data), shape };
}

Deno.test("display: in a notebook a matrix is a table", async () => {
  const bundle = await shown(tensor([[1, -2.5], [NaN, 1000]]));
  assertEquals(Object.keys(bundle), ["text/plain", "text/html"]);
  assertStringIncludes(bundle["text/plain"], "tensor([[");
  assertEquals(
    bundle["text/html"],
    `<table>
<caption>f32 [2, 2]</caption>
<thead><tr><th></th><th>0</th><th>1</th></tr></thead>
<tbody>
<tr><th>0</th><td>1.0000</td><td>-2.5000</td></tr>
<tr><th>1</th><td>nan</td><td>1000.0000</td></tr>
</tbody>
</table>`,
  );
  const vector = await shown(tensor([true, false]));
  assertEquals(
    vector["text/html"],
    `<table>
<caption>bool [2]</caption>
<thead><tr><th>0</th><th>1</th></tr></thead>
<tbody>
<tr><td>true</td><td>false</td></tr>
</tbody>
</table>`,
  );
});

Deno.test("display: long tables show both ends, more axes and single numbers are text", async () => {
  const html = (await shown(arange(3000).reshape([60, 50])))["text/html"]!;
  assertEquals(html.match(/<tr>/g)?.length, 22);
  assertEquals(html.match(/<td>/g)?.length, 21 * 21);
  assertStringIncludes(
    html,
    "<tr><th>59</th><td>2950</td><td>2951</td>",
  );
  assertStringIncludes(html, "<td>2959</td><td>…</td><td>2990</td>");
  const deep =
    (await shown(ones([2, 2, 2], { requiresGrad: true })))["text/html"]!;
  assert(
    deep.startsWith("<pre>f32 [2, 2, 2], requires a gradient\ntensor([[["),
  );
  const derived = await shown(ones([1, 2, 2], { requiresGrad: true }).mul(2));
  assertStringIncludes(derived["text/html"]!, 'gradOf="mul"');
  for (const x of [tensor(1.5), ones([0, 3])]) {
    assertEquals(await shown(x), { "text/plain": `${x}` });
  }
  const gone = ones([2]);
  gone.dispose();
  assertEquals(await shown(gone), { "text/plain": "tensor(disposed)" });
});

Deno.test("display: in a notebook a picture is a picture", async () => {
  const size = 64;
  const grey = arange(size * size).remainder(256).cast("u8");
  const values = Array.from(grey.data(), Number);
  for (const shape of [[size, size], [1, size, size]]) {
    const bundle = await shown(grey.reshape(shape));
    assertEquals(Object.keys(bundle), ["text/plain", "image/png"]);
    const { data, shape: [height, width] } = await pixels(bundle, 1);
    // Enlarged twice.
    assertEquals([height, width], [128, 128]);
    assertEquals(
      data.filter((_, i) => i % 2 === 0 && (i >> 7) % 2 === 0),
      values,
    );
    assertEquals(
      data.filter((_, i) => i % 2 === 1 && (i >> 7) % 2 === 1),
      values,
    );
  }
  const floats = rand([3, 70, 90]);
  const expected = Array.from(floats.permute([1, 2, 0]).data(), Number)
    .map((v) => Math.round(v * 255));
  for (const x of [floats, floats.permute([1, 2, 0]), floats.cast("f64")]) {
    const { data, shape } = await pixels(await shown(x), 3);
    assertEquals(shape, [70, 90, 3]);
    assertEquals(data, expected);
  }
});

Deno.test("display: what only resembles a picture is a table", async () => {
  const unlike = [
    ones([7, 20]),
    ones([3, 7, 20]),
    ones([16, 16]).mul(1.5),
    ones([16, 16]).neg(),
    ones([16, 16]).mul(NaN),
    ones([16, 16], { dtype: "i32" }),
    ones([16, 16], { dtype: "bool" }),
    ones([2, 16, 16]),
    ones([16, 16, 4]),
    ones([256]),
  ];
  for (const x of unlike) {
    const keys = Object.keys(await mediaBundle(x));
    assertEquals(keys, ["text/plain", "text/html"], `${x.dtype} [${x.shape}]`);
  }
});
