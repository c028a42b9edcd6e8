// Products: which the stand-in takes, with which algorithms, and their loops.
#include <algorithm>
#include <cmath>

#include "cublaslt.h"

namespace lt {

size_t size_of(int type) {
  switch (type) {
    case CUDA_R_32F: return 4;
    case CUDA_R_64F: return 8;
    case CUDA_R_16F: case CUDA_R_16BF: return 2;
    case CUDA_R_8F_E4M3: case CUDA_R_8F_E5M2: return 1;
    default: return 0;
  }
}

namespace {

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

}  // namespace

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

namespace {

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

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

double gelu_slope(double x) {
  const double c = 0.7978845608028654, t = std::tanh(c * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

}  // namespace

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
        for (int64_t l = 0; l < p.k; l++) fa[i * p.k + l] = tf32 ? host::float_to_tf32(at_a(i, l)) : at_a(i, l);
      for (int64_t j = 0; j < p.n; j++)
        for (int64_t l = 0; l < p.k; l++) fb[j * p.k + l] = tf32 ? host::float_to_tf32(at_b(l, j)) : at_b(l, j);
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

}  // namespace lt
