/**
 * The real cuBLASLt, which needs no GPU to make descriptions: every attribute
 * that Decaf sets is one that the library knows, of the size that it wants.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  check,
  ComputeType,
  createDesc,
  createHandle,
  createLayout,
  createPreference,
  type CublasLt,
  DataType,
  DescAttribute,
  descBytes,
  Epilogue,
  LayoutAttribute,
  layoutBytes,
  library,
  PreferenceAttribute,
  preferenceBytes,
  setDesc,
  setLayout,
  setPreference,
  Status,
} from "../ffi/cublaslt.ts";
import { CudaError } from "../ffi/errors.ts";
import { findLibrary, LibraryError } from "../ffi/library.ts";
import { machine } from "../ffi/machine.ts";

/** The library of a toolkit or of NVIDIA's wheels, never the stand-in; the reason where there is none. */
function realLibrary(): CublasLt | string {
  const wheels = machine.env("DECAF_NVIDIA");
  const file = wheels === undefined
    ? undefined
    : library.wheels.flatMap((folder) =>
      library.linux.map((name) => `${wheels}/${folder}/lib/${name}`)
    ).find((path) => machine.exists(path));
  try {
    return findLibrary(library, {
      ...machine,
      env: (name) => name === library.variable ? file : machine.env(name),
    });
  } catch (error) {
    if (error instanceof LibraryError) return error.message;
    throw error;
  }
}

const found = realLibrary();

/** Registers a test on the real library; ignored, with the reason, where there is none. */
function test(name: string, body: (lib: CublasLt) => void): void {
  if (typeof found !== "string") Deno.test(name, () => body(found));
  else Deno.test({ name: `${name} (${found})`, ignore: true, fn() {} });
}

const types = Object.values(DataType);

test("cuBLASLt tells its version", (lib) => {
  assert(/^1[1-9]\.\d+\.\d+$/.test(lib.versionText), lib.versionText);
});

test("cuBLASLt knows every attribute of an operation, in its size", (lib) => {
  const attributes = Object.keys(DescAttribute) as (keyof typeof descBytes)[];
  for (const compute of Object.values(ComputeType)) {
    const scale = compute === ComputeType.C_64F
      ? DataType.R_64F
      : DataType.R_32F;
    const desc = createDesc(lib, compute, scale);
    for (const name of attributes) {
      const value = name === "EPILOGUE" ? Epilogue.BIAS : 0;
      setDesc(lib, desc, name, value);
      // The check would pass for any size if the library did not look at it.
      const wrong = lib.symbols.cublasLtMatmulDescSetAttribute(
        desc,
        DescAttribute[name],
        new Uint8Array(16),
        BigInt(descBytes[name] + 1),
      );
      assertEquals(wrong, 7, `${name} of one byte more`);
    }
    for (const epilogue of Object.values(Epilogue)) {
      setDesc(lib, desc, "EPILOGUE", epilogue);
    }
    assertEquals(lib.symbols.cublasLtMatmulDescDestroy(desc), 0);
  }
});

test("cuBLASLt knows every attribute of a layout, in its size", (lib) => {
  const attributes = Object.keys(
    LayoutAttribute,
  ) as (keyof typeof layoutBytes)[];
  for (const type of types) {
    const layout = createLayout(lib, type, 48, 32, 64);
    for (const name of attributes) {
      setLayout(lib, layout, name, 3);
      const wrong = lib.symbols.cublasLtMatrixLayoutSetAttribute(
        layout,
        LayoutAttribute[name],
        new Uint8Array(16),
        BigInt(layoutBytes[name] + 1),
      );
      assertEquals(wrong, 7, `${name} of one byte more`);
    }
    assertEquals(lib.symbols.cublasLtMatrixLayoutDestroy(layout), 0);
  }
});

test("cuBLASLt knows every attribute of a preference, in its size", (lib) => {
  const preference = createPreference(lib);
  const attributes = Object.keys(
    PreferenceAttribute,
  ) as (keyof typeof preferenceBytes)[];
  for (const name of attributes) {
    setPreference(lib, preference, name, 2);
    const wrong = lib.symbols.cublasLtMatmulPreferenceSetAttribute(
      preference,
      PreferenceAttribute[name],
      new Uint8Array(16),
      BigInt(preferenceBytes[name] + 1),
    );
    assertEquals(wrong, 7, `${name} of one byte more`);
  }
  assertEquals(lib.symbols.cublasLtMatmulPreferenceDestroy(preference), 0);
});

test("what cuBLASLt refuses is told with its name and arguments", (lib) => {
  const desc = createDesc(lib, ComputeType.C_32F, DataType.R_32F);
  const status = lib.symbols.cublasLtMatmulDescSetAttribute(
    desc,
    99,
    new Uint8Array(8),
    8n,
  );
  lib.symbols.cublasLtMatmulDescDestroy(desc);
  const call = "cublasLtMatmulDescSetAttribute";
  const error = assertThrows(() => check(status, call, "attribute 99"));
  assert(error instanceof CudaError);
  assertEquals(error.call.status, Status.INVALID_VALUE);
  assert(
    error.message.includes(
      "(attribute 99): CUBLAS_STATUS_INVALID_VALUE (7), an argument is out of its range, or arguments contradict",
    ),
    error.message,
  );
});

test("cuBLASLt makes a handle where there is a GPU, or says that there is none", (lib) => {
  try {
    const handle = createHandle(lib);
    assertEquals(lib.symbols.cublasLtDestroy(handle), 0);
  } catch (error) {
    assert(
      (error as Error).message.includes("no driver, no GPU"),
      `${error}`,
    );
  }
});
