// Functions of elements, and their slopes.
#include "cudnn_interpreter.h"

#include <cmath>
#include <limits>

namespace dnn {

namespace {

template <typename T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }

template <typename T>
T forward_mode(int64_t mode, T a, T b, const Descriptor &s) {
  const T root = T(0.70710678118654752440), pi = T(3.14159265358979323846);
  switch (mode) {
  case CUDNN_POINTWISE_ADD: return a + b;
  case CUDNN_POINTWISE_ADD_SQUARE: return a + b * b;
  case CUDNN_POINTWISE_DIV: return a / b;
  case CUDNN_POINTWISE_MAX: return a != a || a > b ? a : b;
  case CUDNN_POINTWISE_MIN: return a != a || a < b ? a : b;
  case CUDNN_POINTWISE_MOD: return std::fmod(a, b);
  case CUDNN_POINTWISE_MUL: return a * b;
  case CUDNN_POINTWISE_POW: return std::pow(a, b);
  case CUDNN_POINTWISE_SUB: return a - b;
  case CUDNN_POINTWISE_ABS: return std::fabs(a);
  case CUDNN_POINTWISE_CEIL: return std::ceil(a);
  case CUDNN_POINTWISE_COS: return std::cos(a);
  case CUDNN_POINTWISE_EXP: return std::exp(a);
  case CUDNN_POINTWISE_FLOOR: return std::floor(a);
  case CUDNN_POINTWISE_LOG: return std::log(a);
  case CUDNN_POINTWISE_NEG: return -a;
  case CUDNN_POINTWISE_RSQRT: return 1 / std::sqrt(a);
  case CUDNN_POINTWISE_SIN: return std::sin(a);
  case CUDNN_POINTWISE_SQRT: return std::sqrt(a);
  case CUDNN_POINTWISE_TAN: return std::tan(a);
  case CUDNN_POINTWISE_ERF: return std::erf(a);
  case CUDNN_POINTWISE_IDENTITY: return a;
  case CUDNN_POINTWISE_RECIPROCAL: return 1 / a;
  case CUDNN_POINTWISE_ATAN2: return std::atan2(a, b);
  case CUDNN_POINTWISE_RELU_FWD: {
    T low = T(s.real(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0)),
      high = T(s.real(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP,
                      std::numeric_limits<T>::max())),
      slope = T(s.real(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 0));
    return a > high ? high : a > low || a != a ? a : low + slope * (a - low);
  }
  case CUDNN_POINTWISE_TANH_FWD: return std::tanh(a);
  case CUDNN_POINTWISE_SIGMOID_FWD: return sigmoid(a);
  case CUDNN_POINTWISE_ELU_FWD:
    return a > 0 ? a : T(s.real(CUDNN_ATTR_POINTWISE_ELU_ALPHA, 1)) *
                           std::expm1(a);
  case CUDNN_POINTWISE_GELU_FWD: return a * T(0.5) * (1 + std::erf(a * root));
  case CUDNN_POINTWISE_SOFTPLUS_FWD: {
    T beta = T(s.real(CUDNN_ATTR_POINTWISE_SOFTPLUS_BETA, 1));
    return std::log1p(std::exp(a * beta)) / beta;
  }
  case CUDNN_POINTWISE_SWISH_FWD:
    return a * sigmoid(a * T(s.real(CUDNN_ATTR_POINTWISE_SWISH_BETA, 1)));
  case CUDNN_POINTWISE_GELU_APPROX_TANH_FWD:
    return a * T(0.5) *
           (1 + std::tanh(std::sqrt(2 / pi) * (a + T(0.044715) * a * a * a)));
  case CUDNN_POINTWISE_CMP_EQ: return a == b;
  case CUDNN_POINTWISE_CMP_NEQ: return a != b;
  case CUDNN_POINTWISE_CMP_GT: return a > b;
  case CUDNN_POINTWISE_CMP_GE: return a >= b;
  case CUDNN_POINTWISE_CMP_LT: return a < b;
  case CUDNN_POINTWISE_CMP_LE: return a <= b;
  case CUDNN_POINTWISE_LOGICAL_AND: return a != 0 && b != 0;
  case CUDNN_POINTWISE_LOGICAL_OR: return a != 0 || b != 0;
  case CUDNN_POINTWISE_LOGICAL_NOT: return a == 0;
  default:
    host::violation("cudnn: pointwise mode %lld is unknown", (long long)mode);
    return 0;
  }
}

// Slope at x (for tanh and sigmoid, at the result y that is given as x).
template <typename T> T backward_mode(int64_t mode, T x) {
  const T root = T(0.70710678118654752440), pi = T(3.14159265358979323846);
  switch (mode) {
  case CUDNN_POINTWISE_RELU_BWD: return x > 0;
  case CUDNN_POINTWISE_TANH_BWD: {
    T y = std::tanh(x);
    return 1 - y * y;
  }
  case CUDNN_POINTWISE_SIGMOID_BWD: return sigmoid(x) * (1 - sigmoid(x));
  case CUDNN_POINTWISE_ELU_BWD: return x > 0 ? 1 : std::exp(x);
  case CUDNN_POINTWISE_GELU_BWD:
    return T(0.5) * (1 + std::erf(x * root)) +
           x * std::exp(-x * x / 2) / std::sqrt(2 * pi);
  case CUDNN_POINTWISE_SOFTPLUS_BWD: return sigmoid(x);
  case CUDNN_POINTWISE_SWISH_BWD:
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
  case CUDNN_POINTWISE_GELU_APPROX_TANH_BWD: {
    T u = std::sqrt(2 / pi) * (x + T(0.044715) * x * x * x), y = std::tanh(u);
    return T(0.5) * (1 + y) + T(0.5) * x * (1 - y * y) * std::sqrt(2 / pi) *
                                  (1 + T(3 * 0.044715) * x * x);
  }
  default:
    host::violation("cudnn: pointwise mode %lld is unknown", (long long)mode);
    return 0;
  }
}

} // namespace

template <typename T> void Interpreter<T>::pointwise(const Descriptor &op) {
  const Descriptor &s = *op.ref(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  int64_t mode = s.integer(CUDNN_ATTR_POINTWISE_MODE, 0);
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
  std::vector<T> x = load(tx);
  if (op.has(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC)) {
    std::vector<T> dy = load(at(op, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC));
    for (size_t i = 0; i < dy.size(); i++)
      dy[i] *= backward_mode<T>(mode, x[i]);
    return store(at(op, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC), dy);
  }
  Tensor ty = at(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
  std::vector<T> b, t, y(size_t(ty.size()));
  Dims bd, td;
  if (op.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC)) {
    Tensor tb = at(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    b = load(tb);
    bd = tb.dims;
  }
  if (op.has(CUDNN_ATTR_OPERATION_POINTWISE_TDESC)) {
    Tensor tt = at(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
    t = load(tt);
    td = tt.dims;
  }
  T alpha = T(op.real(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1)),
    beta = T(op.real(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, 1));
  int64_t axis = s.integer(CUDNN_ATTR_POINTWISE_AXIS, 0);
  Dims xs = row_major(tx.dims), bs = row_major(bd), ts = row_major(td);
  size_t i = 0;
  for (const Dims &c : each(ty.dims)) {
    if (mode == CUDNN_POINTWISE_GEN_INDEX) {
      y[i++] = T(c[size_t(axis)]);
      continue;
    }
    T left = x[size_t(repeated(c, ty.dims, tx.dims, xs))] * alpha;
    T right = b.empty() ? T(0)
                        : b[size_t(repeated(c, ty.dims, bd, bs))] * beta;
    y[i++] = mode == CUDNN_POINTWISE_BINARY_SELECT
                 ? (t[size_t(repeated(c, ty.dims, td, ts))] != 0 ? left : right)
                 : forward_mode<T>(mode, left, right, s);
  }
  store(ty, std::move(y));
}

FOR_BOTH_TYPES(pointwise)

} // namespace dnn
