// Stand-in for cuBLASLt: test equipment. The functions that Decaf calls, with
// their real signatures; every descriptor, attribute, layout and address is
// checked, products are computed by plain loops on the stream's thread.

#include "cublaslt.h"

#include <algorithm>
#include <cstring>

using namespace lt;

namespace {

constexpr const char *kHandle = "cublasLtHandle_t";
constexpr const char *kDesc = "cublasLtMatmulDesc_t";
constexpr const char *kLayout = "cublasLtMatrixLayout_t";
constexpr const char *kPreference = "cublasLtMatmulPreference_t";

template <class To, class From>
To *as(From *p) {
  return reinterpret_cast<To *>(p);
}

// A new object as the handle of a kind, and its end.
template <class T, class Handle> cublasStatus_t made(const char *kind, T *object, Handle *handle) {
  host::handle_made(kind, object);
  *handle = as<std::remove_pointer_t<Handle>>(object);
  return CUBLAS_STATUS_SUCCESS;
}

bool live(const char *kind, const void *p) { return p != nullptr && host::handle_live(kind, const_cast<void *>(p)); }

template <class T, class Handle>
cublasStatus_t destroyed(const char *kind, Handle handle, cublasStatus_t unless = CUBLAS_STATUS_INVALID_VALUE) {
  if (!live(kind, handle)) return unless;
  host::handle_gone(kind, handle);
  delete as<T>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

struct Field {
  int attribute;
  void *where;
  size_t bytes;
};

cublasStatus_t set(const char *what, std::initializer_list<Field> fields, int attribute, const void *buf,
                   size_t bytes) {
  for (const Field &field : fields) {
    if (field.attribute != attribute) continue;
    if (buf == nullptr || bytes != field.bytes) {
      host::violation("%s: attribute %d has %zu bytes, got %zu", what, attribute, field.bytes, bytes);
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    std::memcpy(field.where, buf, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  host::violation("%s: attribute %d is not known", what, attribute);
  return CUBLAS_STATUS_INVALID_VALUE;
}

// Bytes from the first to the last element of all matrices of a layout.
size_t extent(const Layout &l) {
  int64_t last = (l.batch - 1) * std::max<int64_t>(l.stride, 0) + (l.cols - 1) * l.ld + l.rows;
  return last * size_of(l.type);
}

bool aligned(const void *p, uint64_t bytes, const char *what) {
  if (reinterpret_cast<uintptr_t>(p) % bytes == 0) return true;
  host::violation("cublasLtMatmul: %s at %p is not aligned to %lu bytes, as the algorithm needs", what, p, bytes);
  return false;
}

bool gather(Problem &p, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  if (!live(kDesc, desc)) return false;
  for (auto *layout : {a, b, c, d})
    if (!live(kLayout, layout)) return false;
  p = {*as<Desc>(desc), *as<Layout>(a), *as<Layout>(b), *as<Layout>(c), *as<Layout>(d), 0, 0, 0};
  return true;
}

}  // namespace

extern "C" {

size_t CUBLASWINAPI cublasLtGetVersion(void) { return 130400; }

cublasStatus_t CUBLASWINAPI cublasLtCreate(cublasLtHandle_t *handle) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  return made(kHandle, new int(host::current_device()), handle);
}

cublasStatus_t CUBLASWINAPI cublasLtDestroy(cublasLtHandle_t handle) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  return destroyed<int>(kHandle, handle, CUBLAS_STATUS_NOT_INITIALIZED);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                                     cudaDataType_t scale) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  return made(kDesc, new Desc{compute, scale}, desc);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  return destroyed<Desc>(kDesc, desc);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                           cublasLtMatmulDescAttributes_t attr, const void *buf,
                                                           size_t sizeInBytes) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!host::instant() && !live(kDesc, desc)) return CUBLAS_STATUS_INVALID_VALUE;
  Desc &o = *as<Desc>(desc);
  return set("cublasLtMatmulDescSetAttribute",
             {{CUBLASLT_MATMUL_DESC_TRANSA, &o.transA, 4},
              {CUBLASLT_MATMUL_DESC_TRANSB, &o.transB, 4},
              {CUBLASLT_MATMUL_DESC_EPILOGUE, &o.epilogue, 4},
              {CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o.bias, 8},
              {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &o.aux, 8},
              {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &o.auxLd, 8},
              {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &o.scaleA, 8},
              {CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &o.scaleB, 8},
              {CUBLASLT_MATMUL_DESC_FAST_ACCUM, &o.fastAccum, 1},
              {CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &o.biasType, 4}},
             attr, buf, sizeInBytes);
}

cublasStatus_t CUBLASWINAPI cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                                       uint64_t rows, uint64_t cols, int64_t ld) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (size_of(type) == 0) return CUBLAS_STATUS_INVALID_VALUE;
  return made(kLayout, new Layout{type, rows, cols, ld}, layout);
}

cublasStatus_t CUBLASWINAPI cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  return destroyed<Layout>(kLayout, layout);
}

cublasStatus_t CUBLASWINAPI cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                             cublasLtMatrixLayoutAttribute_t attr, const void *buf,
                                                             size_t sizeInBytes) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!live(kLayout, layout)) return CUBLAS_STATUS_INVALID_VALUE;
  Layout &l = *as<Layout>(layout);
  return set("cublasLtMatrixLayoutSetAttribute",
             {{CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &l.batch, 4},
              {CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &l.stride, 8}},
             attr, buf, sizeInBytes);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  return made(kPreference, new Preference, preference);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  return destroyed<Preference>(kPreference, preference);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                                 cublasLtMatmulPreferenceAttributes_t attr,
                                                                 const void *buf, size_t sizeInBytes) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!live(kPreference, preference)) return CUBLAS_STATUS_INVALID_VALUE;
  Preference &f = *as<Preference>(preference);
  return set("cublasLtMatmulPreferenceSetAttribute",
             {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &f.workspace, 8},
              {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &f.reduction, 4},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &f.align[0], 4},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &f.align[1], 4},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &f.align[2], 4},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &f.align[3], 4}},
             attr, buf, sizeInBytes);
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int requested,
    cublasLtMatmulHeuristicResult_t results[], int *found) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  Problem p;
  if (!live(kHandle, handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!live(kPreference, preference) || !gather(p, desc, a, b, c, d) || requested <= 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  *found = 0;
  const cublasStatus_t status = inspect(p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  for (const Algorithm &algorithm : algorithms(p, *as<Preference>(preference))) {
    if (*found == requested) break;
    cublasLtMatmulHeuristicResult_t &result = results[(*found)++];
    result = {};
    std::memcpy(&result.algo, &algorithm, sizeof algorithm);
    result.workspaceSize = algorithm.workspace;
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1;
  }
  return *found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                                    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                    const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulHeuristicResult_t *result) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  Problem p;
  if (!live(kHandle, handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!gather(p, desc, a, b, c, d)) return CUBLAS_STATUS_INVALID_VALUE;
  const cublasStatus_t status = inspect(p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  Algorithm algorithm;
  std::memcpy(&algorithm, algo, sizeof algorithm);
  if (algorithm.magic != kAlgoMagic || algorithm.digest != digest(p)) return CUBLAS_STATUS_INVALID_VALUE;
  result->workspaceSize = algorithm.workspace;
  result->state = CUBLAS_STATUS_SUCCESS;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                                           const void *A, cublasLtMatrixLayout_t a, const void *B,
                                           cublasLtMatrixLayout_t b, const void *beta, const void *C,
                                           cublasLtMatrixLayout_t c, void *D, cublasLtMatrixLayout_t d,
                                           const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspaceBytes,
                                           cudaStream_t stream) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (host::instant()) return CUBLAS_STATUS_SUCCESS;
  Call call;
  Problem &p = call.p;
  if (!live(kHandle, handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!gather(p, desc, a, b, c, d)) return CUBLAS_STATUS_INVALID_VALUE;
  const cublasStatus_t status = inspect(p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const int device = *as<int>(handle);
  if (host::stream_device(stream) != device) {
    host::violation("cublasLtMatmul: the handle is for device %d, the stream is not", device);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  Algorithm algorithm;
  std::memcpy(&algorithm, algo, sizeof algorithm);
  if (algorithm.magic != kAlgoMagic || algorithm.digest != digest(p)) {
    host::violation("cublasLtMatmul: the algorithm was chosen for another problem");
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (workspaceBytes < algorithm.workspace ||
      (algorithm.workspace > 0 && (!aligned(workspace, 256, "the workspace") ||
                                   !host::device_range(workspace, workspaceBytes, "cublasLtMatmul workspace"))))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!aligned(A, algorithm.align, "A") || !aligned(B, algorithm.align, "B") || !aligned(D, algorithm.align, "D"))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Desc &o = p.desc;
  const size_t element = size_of(p.d.type);
  const int64_t vector = o.epilogue & CUBLASLT_EPILOGUE_BGRADB ? p.n : p.m;
  const bool bias = has_bias(o.epilogue) || writes_bias(o.epilogue);
  const bool bits = has_relu(o.epilogue) || has_drelu(o.epilogue);
  const size_t auxBytes = bits ? p.n * o.auxLd / 8 : ((p.n - 1) * o.auxLd + p.m) * element;
  if (!host::device_range(A, extent(p.a), "cublasLtMatmul A") ||
      !host::device_range(B, extent(p.b), "cublasLtMatmul B") ||
      !host::device_range(D, extent(p.d), "cublasLtMatmul D") ||
      (bias && !host::device_range(reinterpret_cast<void *>(o.bias), vector * element, "cublasLtMatmul bias")) ||
      (has_aux(o.epilogue) && !host::device_range(reinterpret_cast<void *>(o.aux), auxBytes, "cublasLtMatmul aux")) ||
      (o.scaleA && !host::device_range(reinterpret_cast<void *>(o.scaleA), 4, "cublasLtMatmul scale of A")) ||
      (o.scaleB && !host::device_range(reinterpret_cast<void *>(o.scaleB), 4, "cublasLtMatmul scale of B")))
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool wide = o.scale == CUDA_R_64F;
  call.alpha = wide ? *static_cast<const double *>(alpha) : *static_cast<const float *>(alpha);
  call.beta = wide ? *static_cast<const double *>(beta) : *static_cast<const float *>(beta);
  if (call.beta != 0 && !host::device_range(C, extent(p.c), "cublasLtMatmul C")) return CUBLAS_STATUS_INVALID_VALUE;
  call.a = static_cast<const char *>(A);
  call.b = static_cast<const char *>(B);
  call.c = static_cast<const char *>(C);
  call.d = static_cast<char *>(D);
  const size_t scratch = algorithm.workspace;
  host::enqueue(stream, [call, workspace, scratch] {
    // Whoever uses the workspace at the same time finds it overwritten.
    if (scratch > 0) std::memset(workspace, 0x5a, scratch);
    compute(call);
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
