// What the parts of cuBLASLt's stand-in share: descriptors, the products that
// they describe, and the algorithms for these.
#pragma once

#include <cublasLt.h>

#include <vector>

#include "host.h"

namespace lt {

struct Desc {
  int compute, scale;
  int32_t transA = CUBLAS_OP_N, transB = CUBLAS_OP_N;
  int32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  uint64_t bias = 0, aux = 0, scaleA = 0, scaleB = 0;
  int64_t auxLd = 0;
  int32_t biasType = -1;
  int8_t fastAccum = 0;
};

struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
  int32_t batch = 1;
  int64_t stride = 0;
};

struct Preference {
  uint64_t workspace = 0;
  uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t align[4] = {256, 256, 256, 256};
};

struct Problem {
  Desc desc;
  Layout a, b, c, d;
  int64_t m, n, k;
};

// Size of an element; 0 for a type that the stand-in does not have.
size_t size_of(int type);

inline bool has_bias(int e) { return e & CUBLASLT_EPILOGUE_BIAS; }
inline bool has_relu(int e) { return e & CUBLASLT_EPILOGUE_RELU; }
inline bool has_gelu(int e) { return e & CUBLASLT_EPILOGUE_GELU; }
inline bool has_drelu(int e) { return (e & 8) != 0; }
inline bool has_dgelu(int e) { return (e & 64) != 0; }
inline bool has_aux(int e) { return e & 128; }
inline bool has_bgrad(int e) { return e & 16; }
inline bool writes_bias(int e) { return has_bgrad(e) || (e & (CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)); }
inline bool is_fp8(int type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }

// Finds the extents of a product, and what is wrong with it.
cublasStatus_t inspect(Problem &p);

// The stand-in's algorithms: one for aligned operands, one that needs a workspace, one that always works.
constexpr uint64_t kAlgoMagic = 0x6465636166ull;

struct Algorithm {
  uint64_t magic, id, digest, workspace, align;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm must fit its descriptor");

// What an algorithm was chosen for; a plan for one problem is none for another.
uint64_t digest(const Problem &p);
// Algorithms that a preference allows, best first.
std::vector<Algorithm> algorithms(const Problem &p, const Preference &f);

struct Call {
  Problem p;
  double alpha, beta;
  const char *a, *b, *c;
  char *d;
};

// Computes a product, on the stream's thread.
void compute(const Call &call);

}  // namespace lt
