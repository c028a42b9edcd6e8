/** Memory: who keeps it alive, who gives it back, and what happens when there is none. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import {
  fromHost,
  keep,
  manualSeed,
  memory,
  models,
  ones,
  optim,
  rand,
  scope,
  tensor,
} from "../mod.ts";

function bytes(): number {
  return memory().devices.cpu?.liveBytes ?? 0;
}

/** Runs a script against mod.ts in a process of its own and returns what it printed. */
async function run(script: string, ...flags: string[]): Promise<string> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    const library = new URL("../mod.ts", import.meta.url).href;
    await Deno.writeTextFile(
      file,
      `import * as decaf from ${JSON.stringify(library)};\n${script}`,
    );
    const { success, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: ["run", "--no-check", "--no-config", ...flags, file],
        stdin: "null",
      },
    ).output();
    const text = new TextDecoder();
    assert(success, text.decode(stderr));
    return text.decode(stdout);
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("memory: 2,000 steps of LeNet leave what 10 steps left", () => {
  manualSeed(7);
  const net = models.lenet({ size: 16 });
  const optimizer = optim.sgd(net, { lr: 0.01, momentum: 0.9 });
  const images = keep(rand([2, 1, 16, 16]));
  const labels = keep(tensor([3, 8]));
  let ten: unknown;
  for (let i = 1; i <= 2000; i++) {
    scope(() => {
      const loss = net.forward(images).crossEntropy(labels);
      optimizer.zeroGrad();
      loss.backward();
      optimizer.step();
    });
    if (i === 10) {
      const { tensors, devices: { cpu } } = memory();
      ten = [tensors, cpu.liveBytes, cpu.blocks];
    }
  }
  const { tensors, devices: { cpu } } = memory();
  assertEquals([tensors, cpu.liveBytes, cpu.blocks], ten);
  for (const owner of [images, labels]) owner.dispose();
  optimizer[Symbol.dispose]();
  net[Symbol.dispose]();
});

Deno.test("memory: a view keeps the bytes that it shows", () => {
  const before = bytes();
  const x = tensor([[1, 2, 3], [4, 5, 6]]);
  const views = [x.transpose(0, 1), x.reshape([6]), x.expand([2, 2, 3])];
  assertEquals(bytes(), before + 48, "a view took memory");
  x.dispose();
  assertEquals(bytes(), before + 48);
  assertEquals(views[0].toArray(), [[1, 4], [2, 5], [3, 6]]);
  assertEquals(views[1].toArray(), [1, 2, 3, 4, 5, 6]);
  assertEquals(views[2].sum().item(), 42);
  for (const view of views) view.dispose();
  scope(() => {});
  assert(bytes() <= before + 8, "only the sum is left");
});

Deno.test("memory: a pending value keeps its operands until it is computed", () => {
  const before = bytes();
  const x = fromHost(Float32Array.of(1, 2, 3, 4), "f32", [4]);
  const sum = x.add(1);
  const y = sum.mul(2);
  x.dispose();
  sum.dispose();
  assertEquals(bytes(), before + 16);
  assertEquals(y.toArray(), [4, 6, 8, 10]);
  assertEquals(bytes(), before + 16, "the operand was not given back");
  y.dispose();
  assertEquals(bytes(), before);
  const never = scope(() => ones([100]).materialize().add(1));
  assertEquals(bytes(), before + 400);
  never.dispose();
  assertEquals(bytes(), before, "the operand of a value nobody computed");
});

Deno.test("memory: the tape frees what it saved as backward goes", () => {
  scope(() => {
    const x = ones([256], { requiresGrad: true }).materialize();
    const before = bytes();
    const held: number[] = [];
    const loss = scope(() => {
      let y = x.softmax(0);
      for (let i = 1; i < 10; i++) {
        y = y.softmax(0);
        y.registerHook(() => {
          held.push(bytes() - before);
        });
      }
      return y.sum().materialize();
    });
    assertEquals(bytes(), before + 10 * 1024 + 4);
    loss.backward();
    // Each step frees one saved result; the first also makes a gradient.
    assertEquals(held.length, 9);
    for (let i = 2; i < 9; i++) assertEquals(held[i - 1] - held[i], 1024);
    assertEquals(bytes(), before + 1024 + 4, "only the gradient is left");
  });
});

Deno.test("memory: the garbage collector frees what nobody disposed of", async () => {
  const printed = await run(
    `
    const { ones, tensor, scope, keep, memory, recompute } = decaf;
    const collect = globalThis.gc;
    const live = () => memory().devices.cpu?.liveBytes ?? 0;
    const start = live();
    function litter(kind) {
      for (let i = 0; i < 20; i++) {
        const x = ones([1000], { requiresGrad: true });
        if (kind === "stored") ones([1000]).materialize();
        if (kind === "pending") scope(() => keep(tensor([1.5, 2]).exp().materialize().mul(2)));
        if (kind === "view") ones([1000]).materialize().reshape([10, 100]);
        if (kind === "tape") x.exp().mul(x).sum().materialize();
        if (kind === "gradient") x.exp().mul(x).sum().backward();
        if (kind === "returned tape") scope(() => x.exp().materialize().tanh().sum()).materialize();
        if (kind === "recompute") recompute((y) => y.exp(), x).sum().backward();
      }
    }
    for (const kind of ["stored", "pending", "view", "tape", "gradient", "returned tape", "recompute"]) {
      litter(kind);
      const littered = live() - start;
      for (let i = 0; i < 20 && live() > start; i++) {
        collect();
        await new Promise((done) => setTimeout(done, 10));
      }
      console.log(kind + ":", littered > 0 ? "littered" : "clean", live() - start);
    }
    `,
    "--v8-flags=--expose-gc",
  );
  assertEquals(printed.trim().split("\n"), [
    "stored: littered 0",
    "pending: littered 0",
    "view: littered 0",
    "tape: littered 0",
    "gradient: littered 0",
    "returned tape: littered 0",
    "recompute: littered 0",
  ]);
});

Deno.test("memory: running out is one sentence, and the process goes on", async () => {
  const printed = await run(`
    const { ones, zeros, nn, memory, noGrad, OutOfMemoryError, Scope, scope } = decaf;
    const layer = nn.linear(64, 64);
    const before = memory().devices.cpu;
    const attempt = (body) => {
      try {
        body();
        console.log("nothing was thrown");
      } catch (error) {
        console.log(error instanceof OutOfMemoryError, error.message);
      }
    };
    attempt(() => zeros([2 ** 30, 5]).materialize());
    const held = [];
    attempt(() => {
      for (;;) held.push(decaf.empty([1024, 1024, 64]));
    });
    console.log(held.length > 10);
    for (const i of [3, 5]) held[i].dispose();
    attempt(() => decaf.empty([1024, 1024, 100]));
    for (const i of [3, 5]) held[i] = decaf.empty([1024, 1024, 64]);
    const operand = ones([1024, 1024, 2]).materialize();
    const pending = operand.mul(3);
    while (true) {
      try {
        held.push(decaf.empty([1024, 256]));
      } catch {
        break;
      }
    }
    attempt(() => pending.materialize());
    while (held.length > 15) held.pop().dispose();
    held.pop().dispose();
    console.log(scope(() => pending.max().item()));
    pending.dispose();
    operand.dispose();
    attempt(() => {
      using _scope = new Scope();
      const x = decaf.empty([1024, 4096]);
      x.requiresGrad = true;
      for (let i = 0; i < 100; i++) x.softmax(1).mul(x).tanh().sum().materialize();
    });
    for (const x of held) x.dispose();
    const after = memory().devices.cpu;
    console.log(after.liveBytes - before.liveBytes, after.blocks - before.blocks);
    console.log(scope(() => layer.forward(ones([1, 64])).shape.join()));
  `);
  const [alone, many, count, pieces, late, computed, tape, left, result] =
    printed
      .trim().split("\n");
  assertEquals(
    alone,
    "true Cannot allocate 20.0 GiB on cpu for a tensor of f32 [1073741824, 5]: the device holds 4.0 GiB in all; split the tensor, or use a narrower dtype",
  );
  assertMatch(
    many,
    /^true Cannot allocate 256\.0 MiB on cpu for a tensor of f32 \[1024, 1024, 64\]: 3\.8 GiB of 4\.0 GiB are live in 17 blocks, 1\d\.\d MiB are free, 24\d\.\d MiB are the ends of blocks and what kernels need: 3\.8 GiB in 15 × \(f32 \[1024, 1024, 64\], empty\); 16\.0 KiB in 1 × \(f32 \[64, 64\], parameter\)/,
  );
  assertMatch(
    pieces,
    /^true Cannot allocate 400\.0 MiB on cpu .* are live in 15 blocks, and the 5\d\d\.\d MiB that are free lie in pieces that are too small: /,
  );
  assertStringIncludes(many, "; dispose of tensors that are no longer needed");
  assertEquals(count, "true");
  assertStringIncludes(late, "true Cannot allocate 8.0 MiB on cpu");
  assertEquals(computed, "3", "a pending value can be computed later");
  assertStringIncludes(tape, "true Cannot allocate 16.0 MiB on cpu");
  assertStringIncludes(tape, " × (f32 [1024, 4096], softmax)");
  assertEquals(left, "0 0");
  assertEquals(result, "1,64");
});

Deno.test("memory: a failed operator leaves nothing behind", async () => {
  const printed = await run(`
    const { empty, memory, scope } = decaf;
    const side = 17000; // 1.1 GiB each
    const a = empty([side, side]), b = empty([side, side]);
    const filler = [empty([side, side])];
    try {
      for (;;) filler.push(empty([1024, 1024]));
    } catch {
      filler.pop().dispose();
    }
    const image = empty([1, 1, 1000, 1000]);
    const start = memory().devices.cpu;
    const operators = {
      add: () => a.add(b).materialize(),
      matmul: () => a.matmul(b),
      transposed: () => a.transpose(0, 1).reshape([-1]),
      flip: () => a.flip([0]).materialize(),
      sort: () => a.sort(),
      softmax: () => a.softmax(1).materialize(),
      cumSum: () => a.cumSum(0),
      conv: () => image.conv(empty([64, 1, 3, 3])),
      maxPool: () => a.reshape([1, 1, side, side]).maxPool(2),
      gather: () => a.indexSelect(0, decaf.arange(side)),
      unfold: () => a.reshape([1, 1, side, side]).interpolate({ size: [side, side + 1] }),
    };
    for (const [name, run] of Object.entries(operators)) {
      let thrown = "nothing";
      try {
        scope(run);
      } catch (error) {
        thrown = error.name;
      }
      const end = memory().devices.cpu;
      console.log(name, thrown, end.liveBytes - start.liveBytes, end.blocks - start.blocks);
    }
  `);
  for (const line of printed.trim().split("\n")) {
    const [name, thrown, left, blocks] = line.split(" ");
    assertEquals([thrown, left, blocks], ["OutOfMemoryError", "0", "0"], name);
  }
});
