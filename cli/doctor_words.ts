/**
 * What the doctor says about CUDA.
 *
 * @module
 */

import type {
  CudaReport,
  GpuReport,
  LibraryReport,
  LinkReport,
} from "./doctor_cuda.ts";
import { bold, definitions, dim } from "./terminal.ts";

type Row = readonly [name: string, meaning: string];

/** The report in paragraphs. */
export function cudaWords(report: CudaReport): string {
  const { problem, searched, driver, libraries, gpus, links, exchange } =
    report;
  if (!searched) return `${bold("CUDA")}\n${definitions([["", problem!]])}`;
  const state: Row[] = [
    ["state", stateOf(report)],
    ...(driver === undefined
      ? []
      : [["driver", `supports CUDA ${driver}`] as Row]),
  ];
  return [
    `${bold("CUDA")}\n${definitions(state)}`,
    `${bold("Libraries")}\n${libraries.map(libraryWords).join("\n")}`,
    ...(gpus.length === 0 ? [] : [
      `${bold("GPUs")}\n${gpus.map(gpuWords).join("\n")}`,
    ]),
    ...(links.length === 0 ? [] : [
      `${bold("Links")}\n${
        definitions([
          ...links.map(linkRow),
          ["all of them", `all-reduce ${exchange}`],
        ])
      }`,
    ]),
    `${bold("Features")}\n${
      definitions(report.features.map(({ name, available, otherwise }): Row => [
        name,
        available ? "yes" : `no: ${otherwise}`,
      ]))
    }`,
    ...missingWords(libraries),
  ].join("\n\n");
}

function stateOf({ problem, works }: CudaReport): string {
  if (problem !== undefined) return `not usable: ${problem}`;
  return works ? "works" : "does not work: a self test below failed";
}

/** Characters that the longest name of a library takes. */
const nameWidth = 8;

/** Where a library was found, or all the places where it was not. */
function libraryWords(library: LibraryReport): string {
  const { name, purpose, path, version, tried } = library;
  if (path !== undefined) {
    return definitions([[
      name.padEnd(nameWidth),
      `${version}, ${path} (${purpose})`,
    ]]);
  }
  const rows = tried.map(({ path, from, reason }) =>
    dim(`      ${path} (${from}): ${reason}`)
  );
  return [
    definitions([[
      name.padEnd(nameWidth),
      `not found (${purpose}); these were tried:`,
    ]]),
    ...rows,
  ].join("\n");
}

function gpuWords(gpu: GpuReport): string {
  const { device, model, architecture, multiprocessors, memoryBytes, pci } =
    gpu;
  const { results, gflops } = gpu.test;
  const tests = Object.entries(results).map(([name, said]) =>
    `${name} ${said}`
  );
  const speed = gflops === undefined
    ? ""
    : `, ${
      gflops < 1000
        ? `${gflops} GFLOP/s`
        : `${(gflops / 1000).toFixed(1)} TFLOP/s`
    } in a product of f32 matrices`;
  const precisions = gpu.precisions.length === 0
    ? "no tensor cores"
    : `tensor cores for ${gpu.precisions.join(", ")}`;
  return definitions([
    [
      device,
      `${model}, compute capability ${architecture}, ${multiprocessors} multiprocessors, ${
        (memoryBytes / 2 ** 30).toFixed(1)
      } GiB, PCI ${pci}; ${precisions}`,
    ],
    ["", `self test: ${tests.join(", ")}${speed}`],
  ]);
}

function linkRow({ from, to, direct, atomics, rank }: LinkReport): Row {
  const kind = !direct
    ? "through the host"
    : atomics
    ? "direct, with atomic operations (NVLink)"
    : "direct (PCI)";
  return [`${from} → ${to}`, `${kind}, rank ${rank}`];
}

/** What to install for what is missing. */
function missingWords(libraries: readonly LibraryReport[]): string[] {
  const rows = libraries.flatMap(({ name, install }): Row[] =>
    install === undefined ? [] : [[name, install.join(", or ")]]
  );
  if (rows.length === 0) return [];
  const variables = libraries.filter(({ install }) => install !== undefined)
    .map(({ variable }) => variable).join(", ");
  return [
    `${bold("To install")}\n${definitions(rows)}\n${
      definitions([[
        "elsewhere",
        `a file in another place is named by ${variables}; a toolkit by CUDA_HOME`,
      ]])
    }`,
  ];
}
