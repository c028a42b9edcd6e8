// Stand-in for cuBLASLt: test equipment. The functions that Decaf calls, with
// their real signatures; every descriptor, attribute, layout and address is
// checked, products are computed by plain loops on the stream's thread.

#include <cublasLt.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "host.h"

namespace {

constexpr size_t kAlgoMagic = 0x6465636166ull;

// ---------------------------------------------------------------- element types

size_t size_of(int type) {
  switch (type) {
    case CUDA_R_32F: return 4;
    case CUDA_R_64F: return 8;
    case CUDA_R_16F: case CUDA_R_16BF: return 2;
    case CUDA_R_8F_E4M3: case CUDA_R_8F_E5M2: return 1;
    default: return 0;
  }
}

// S.EEEE.MMM with bias 7, no infinities; S.EEEEE.MM with bias 15 as half precision has it.
double fp8_to_double(uint8_t bits, bool e4m3) {
  const int mantissaBits = e4m3 ? 3 : 2, bias = e4m3 ? 7 : 15;
  const int mantissa = bits & ((1 << mantissaBits) - 1);
  const int exponent = (bits & 0x7f) >> mantissaBits;
  double value;
  if (e4m3 && (bits & 0x7f) == 0x7f) value = NAN;
  else if (!e4m3 && exponent == 31) value = mantissa ? NAN : INFINITY;
  else if (exponent == 0) value = std::ldexp(mantissa, 1 - bias - mantissaBits);
  else value = std::ldexp((1 << mantissaBits) + mantissa, exponent - bias - mantissaBits);
  return bits & 0x80 ? -value : value;
}

double load(const void *p, int64_t i, int type) {
  switch (type) {
    case CUDA_R_32F: return static_cast<const float *>(p)[i];
    case CUDA_R_64F: return static_cast<const double *>(p)[i];
    case CUDA_R_16F: return host::half_to_float(static_cast<const uint16_t *>(p)[i]);
    case CUDA_R_16BF: return host::bf16_to_float(static_cast<const uint16_t *>(p)[i]);
    case CUDA_R_8F_E4M3: return fp8_to_double(static_cast<const uint8_t *>(p)[i], true);
    default: return fp8_to_double(static_cast<const uint8_t *>(p)[i], false);
  }
}

void store(void *p, int64_t i, int type, double value) {
  switch (type) {
    case CUDA_R_32F: static_cast<float *>(p)[i] = static_cast<float>(value); return;
    case CUDA_R_64F: static_cast<double *>(p)[i] = value; return;
    case CUDA_R_16F: static_cast<uint16_t *>(p)[i] = host::float_to_half(static_cast<float>(value)); return;
    default: static_cast<uint16_t *>(p)[i] = host::float_to_bf16(static_cast<float>(value)); return;
  }
}

// TF32 keeps ten bits of the mantissa.
float to_tf32(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0xfffu + ((bits >> 13) & 1)) & ~0x1fffu;
  std::memcpy(&x, &bits, 4);
  return x;
}

// ---------------------------------------------------------------- descriptors

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

constexpr const char *kHandle = "cublasLtHandle_t";
constexpr const char *kDesc = "cublasLtMatmulDesc_t";
constexpr const char *kLayout = "cublasLtMatrixLayout_t";
constexpr const char *kPreference = "cublasLtMatmulPreference_t";

template <class To, class From>
To *as(From *p) {
  return reinterpret_cast<To *>(p);
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

// ---------------------------------------------------------------- a product

struct Problem {
  Desc desc;
  Layout a, b, c, d;
  int64_t m, n, k;
};

bool has_bias(int e) { return e & CUBLASLT_EPILOGUE_BIAS; }
bool has_relu(int e) { return e & CUBLASLT_EPILOGUE_RELU; }
bool has_gelu(int e) { return e & CUBLASLT_EPILOGUE_GELU; }
bool has_drelu(int e) { return (e & 8) != 0; }
bool has_dgelu(int e) { return (e & 64) != 0; }
bool has_aux(int e) { return e & 128; }
bool has_bgrad(int e) { return e & 16; }
bool writes_bias(int e) { return has_bgrad(e) || (e & (CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)); }
bool is_fp8(int type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }

// Which of the documented combinations of types this is, if any.
bool types_supported(const Problem &p) {
  const int a = p.a.type, b = p.b.type, d = p.d.type;
  if (p.c.type != d) return false;
  if (p.desc.compute == CUBLAS_COMPUTE_64F)
    return p.desc.scale == CUDA_R_64F && a == CUDA_R_64F && b == a && d == a;
  if (p.desc.scale != CUDA_R_32F) return false;
  if (p.desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32) return a == CUDA_R_32F && b == a && d == a;
  if (p.desc.compute != CUBLAS_COMPUTE_32F) return false;
  if (is_fp8(a) && is_fp8(b))
    return !(a == CUDA_R_8F_E5M2 && b == a) && (d == CUDA_R_32F || d == CUDA_R_16F || d == CUDA_R_16BF);
  if (a != b) return false;
  if (a == CUDA_R_32F) return d == a;
  return (a == CUDA_R_16F || a == CUDA_R_16BF) && (d == a || d == CUDA_R_32F);
}

cublasStatus_t inspect(Problem &p) {
  const Desc &o = p.desc;
  const bool ta = o.transA == CUBLAS_OP_T, tb = o.transB == CUBLAS_OP_T;
  p.m = ta ? p.a.cols : p.a.rows;
  p.k = ta ? p.a.rows : p.a.cols;
  p.n = tb ? p.b.rows : p.b.cols;
  const int64_t kb = tb ? p.b.cols : p.b.rows;
  if (p.m == 0 || p.n == 0 || p.k == 0) {
    host::violation("cublasLt: a product with an extent of 0: m %ld, n %ld, k %ld", (long)p.m, (long)p.n, (long)p.k);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (kb != p.k || (int64_t)p.d.rows != p.m || (int64_t)p.d.cols != p.n || p.c.rows != p.d.rows ||
      p.c.cols != p.d.cols) {
    host::violation("cublasLt: extents do not fit: A %lux%lu, B %lux%lu, D %lux%lu", p.a.rows, p.a.cols, p.b.rows,
                    p.b.cols, p.d.rows, p.d.cols);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  for (const Layout *l : {&p.a, &p.b, &p.c, &p.d}) {
    if (l->ld < (int64_t)l->rows) {
      host::violation("cublasLt: leading dimension %ld of a matrix with %lu rows", (long)l->ld, l->rows);
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (l->batch != p.d.batch || l->batch < 1) {
      host::violation("cublasLt: batches of %d and %d", l->batch, p.d.batch);
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (l->rows > INT32_MAX || l->cols > INT32_MAX) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (p.d.batch > 1 && p.d.stride < p.d.ld * (int64_t)p.d.cols - (p.d.ld - (int64_t)p.d.rows) && p.d.stride < p.d.ld) {
    host::violation("cublasLt: results of a batch overlap: stride %ld", (long)p.d.stride);
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (!types_supported(p)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const int e = o.epilogue;
  if (has_bias(e) || writes_bias(e)) {
    if (o.bias == 0) {
      host::violation("cublasLt: epilogue %d without a bias pointer", e);
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (o.biasType != -1 && o.biasType != p.d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (e & ~(CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_DEFAULT) && o.compute == CUBLAS_COMPUTE_64F)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (has_aux(e)) {
    const int64_t multiple = has_relu(e) || has_drelu(e) ? 128 : 8;
    if (o.aux == 0 || o.auxLd % multiple != 0 || o.auxLd < p.m) {
      host::violation("cublasLt: epilogue %d with a second matrix at %lx of leading dimension %ld (%ld rows)", e,
                      o.aux, (long)o.auxLd, (long)p.m);
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (o.aux % 16 != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.d.batch > 1) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (writes_bias(e) && p.d.batch > 1) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (is_fp8(p.a.type)) {
    if (!ta || tb) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.m % 16 || p.n % 16 || p.k % 16 || p.a.ld % 16 || p.b.ld % 16) return CUBLAS_STATUS_NOT_SUPPORTED;
  } else if (o.scaleA || o.scaleB) {
    host::violation("cublasLt: scales for matrices that are not fp8");
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

// What an algorithm was chosen for; a plan for one problem is none for another.
uint64_t digest(const Problem &p) {
  uint64_t h = 1469598103934665603ull;
  auto mix = [&h](uint64_t x) { h = (h ^ x) * 1099511628211ull; };
  for (uint64_t x : {(uint64_t)p.desc.compute, (uint64_t)p.desc.transA, (uint64_t)p.desc.transB,
                     (uint64_t)p.desc.epilogue, (uint64_t)p.desc.auxLd, (uint64_t)p.d.batch})
    mix(x);
  for (const Layout *l : {&p.a, &p.b, &p.d})
    for (uint64_t x : {(uint64_t)l->type, l->rows, l->cols, (uint64_t)l->ld, (uint64_t)l->stride}) mix(x);
  return h;
}

// The stand-in's algorithms: one for aligned operands, one that needs a workspace, one that always works.
struct Algorithm {
  uint64_t magic, id, digest, workspace, align;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm must fit its descriptor");

std::vector<Algorithm> algorithms(const Problem &p, const Preference &f) {
  const uint64_t d = digest(p), element = size_of(p.d.type);
  const uint64_t split = (uint64_t)p.m * p.n * (p.desc.compute == CUBLAS_COMPUTE_64F ? 8 : 4);
  const uint64_t smallest = *std::min_element(f.align, f.align + 4);
  const bool even = p.a.ld * size_of(p.a.type) % 16 == 0 && p.b.ld * size_of(p.b.type) % 16 == 0 &&
                    p.d.ld * element % 16 == 0;
  std::vector<Algorithm> list;
  if (smallest >= 16 && even) list.push_back({kAlgoMagic, 0, d, 0, 16});
  if ((f.reduction & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) && split <= f.workspace && p.desc.epilogue == 1)
    list.push_back({kAlgoMagic, 1, d, split, element});
  if (!is_fp8(p.a.type)) list.push_back({kAlgoMagic, 2, d, 0, element});
  return list;
}

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

double gelu_slope(double x) {
  const double c = 0.7978845608028654, t = std::tanh(c * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

struct Call {
  Problem p;
  double alpha, beta;
  const char *a, *b, *c;
  char *d;
};

void compute(const Call &call) {
  const Problem &p = call.p;
  const Desc &o = p.desc;
  const int e = o.epilogue;
  const bool ta = o.transA == CUBLAS_OP_T, tb = o.transB == CUBLAS_OP_T;
  const bool tf32 = o.compute == CUBLAS_COMPUTE_32F_FAST_TF32, wide = o.compute == CUBLAS_COMPUTE_64F;
  double scale = call.alpha;
  if (o.scaleA) scale *= *reinterpret_cast<const float *>(o.scaleA);
  if (o.scaleB) scale *= *reinterpret_cast<const float *>(o.scaleB);
  auto *bias = reinterpret_cast<char *>(o.bias);
  auto *aux = reinterpret_cast<char *>(o.aux);
  std::vector<double> rows(has_bgrad(e) ? p.m : 0);
  std::vector<float> fa(wide ? 0 : p.m * p.k), fb(wide ? 0 : p.k * p.n);
  for (int64_t batch = 0; batch < p.d.batch; batch++) {
    const char *a = call.a + batch * p.a.stride * size_of(p.a.type);
    const char *b = call.b + batch * p.b.stride * size_of(p.b.type);
    char *d = call.d + batch * p.d.stride * size_of(p.d.type);
    auto at_a = [&](int64_t i, int64_t l) { return load(a, ta ? i * p.a.ld + l : l * p.a.ld + i, p.a.type); };
    auto at_b = [&](int64_t l, int64_t j) { return load(b, tb ? l * p.b.ld + j : j * p.b.ld + l, p.b.type); };
    if (!wide) {
      for (int64_t i = 0; i < p.m; i++)
        for (int64_t l = 0; l < p.k; l++) fa[i * p.k + l] = tf32 ? to_tf32(at_a(i, l)) : at_a(i, l);
      for (int64_t j = 0; j < p.n; j++)
        for (int64_t l = 0; l < p.k; l++) fb[j * p.k + l] = tf32 ? to_tf32(at_b(l, j)) : at_b(l, j);
    }
    for (int64_t j = 0; j < p.n; j++) {
      for (int64_t i = 0; i < p.m; i++) {
        double sum = 0;
        if (wide) {
          for (int64_t l = 0; l < p.k; l++) sum += at_a(i, l) * at_b(l, j);
        } else {
          const float *x = &fa[i * p.k], *y = &fb[j * p.k];
          float narrow = 0;
          for (int64_t l = 0; l < p.k; l++) narrow += x[l] * y[l];
          sum = narrow;
        }
        double value = scale * sum;
        const int64_t at = j * p.d.ld + i;
        if (call.beta != 0) value += call.beta * load(call.c, batch * p.c.stride + j * p.c.ld + i, p.c.type);
        if (has_bias(e)) value += load(bias, i, p.d.type);
        if (has_aux(e)) {
          const int64_t place = j * o.auxLd + i;
          uint8_t *bits = reinterpret_cast<uint8_t *>(aux) + place / 8;
          const uint8_t bit = static_cast<uint8_t>(1 << place % 8);
          if (has_relu(e)) *bits = value > 0 ? *bits | bit : *bits & ~bit;
          if (has_gelu(e)) store(aux, place, p.d.type, value);
          if (has_drelu(e) && !(*bits & bit)) value = 0;
          if (has_dgelu(e)) value *= gelu_slope(load(aux, place, p.d.type));
        }
        if (has_relu(e)) value = value > 0 || value != value ? value : 0;
        if (has_gelu(e)) value = gelu(value);
        if (has_bgrad(e)) rows[i] += value;
        store(d, at, p.d.type, value);
      }
    }
    if (has_bgrad(e))
      for (int64_t i = 0; i < p.m; i++) store(bias, i, p.d.type, rows[i]);
    if (e & CUBLASLT_EPILOGUE_BGRADA)
      for (int64_t i = 0; i < p.m; i++) {
        double sum = 0;
        for (int64_t l = 0; l < p.k; l++) sum += at_a(i, l);
        store(bias, i, p.d.type, sum);
      }
    if (e & CUBLASLT_EPILOGUE_BGRADB)
      for (int64_t j = 0; j < p.n; j++) {
        double sum = 0;
        for (int64_t l = 0; l < p.k; l++) sum += at_b(l, j);
        store(bias, j, p.d.type, sum);
      }
  }
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

bool live(const char *kind, const void *p) { return p != nullptr && host::handle_live(kind, const_cast<void *>(p)); }

bool gather(Problem &p, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  if (!live(kDesc, desc)) return false;
  for (auto *layout : {a, b, c, d})
    if (!live(kLayout, layout)) return false;
  p = {*as<Desc>(desc), *as<Layout>(a), *as<Layout>(b), *as<Layout>(c), *as<Layout>(d), 0, 0, 0};
  return true;
}

}  // namespace

// ---------------------------------------------------------------- the library

extern "C" {

size_t CUBLASWINAPI cublasLtGetVersion(void) { return 130400; }

cublasStatus_t CUBLASWINAPI cublasLtCreate(cublasLtHandle_t *handle) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  int *made = new int(host::current_device());
  host::handle_made(kHandle, made);
  *handle = reinterpret_cast<cublasLtHandle_t>(made);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasLtDestroy(cublasLtHandle_t handle) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!live(kHandle, handle)) return CUBLAS_STATUS_NOT_INITIALIZED;
  host::handle_gone(kHandle, handle);
  delete as<int>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                                     cudaDataType_t scale) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  Desc *made = new Desc;
  made->compute = compute;
  made->scale = scale;
  host::handle_made(kDesc, made);
  *desc = as<std::remove_pointer_t<cublasLtMatmulDesc_t>>(made);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!live(kDesc, desc)) return CUBLAS_STATUS_INVALID_VALUE;
  host::handle_gone(kDesc, desc);
  delete as<Desc>(desc);
  return CUBLAS_STATUS_SUCCESS;
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
  Layout *made = new Layout{type, rows, cols, ld};
  host::handle_made(kLayout, made);
  *layout = as<std::remove_pointer_t<cublasLtMatrixLayout_t>>(made);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!live(kLayout, layout)) return CUBLAS_STATUS_INVALID_VALUE;
  host::handle_gone(kLayout, layout);
  delete as<Layout>(layout);
  return CUBLAS_STATUS_SUCCESS;
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
  Preference *made = new Preference;
  host::handle_made(kPreference, made);
  *preference = as<std::remove_pointer_t<cublasLtMatmulPreference_t>>(made);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  HOST_ENTER("cublasLt", cublasStatus_t);
  if (!live(kPreference, preference)) return CUBLAS_STATUS_INVALID_VALUE;
  host::handle_gone(kPreference, preference);
  delete as<Preference>(preference);
  return CUBLAS_STATUS_SUCCESS;
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
