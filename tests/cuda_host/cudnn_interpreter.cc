// Computes operation graphs by plain loops, in f32 or, where an operand is
// f64, in f64. Each result is rounded to the type of its tensor.
#include "cudnn_stand_in.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>

namespace dnn {

int64_t Tensor::size() const {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

int64_t Tensor::span() const {
  int64_t last = 0;
  for (size_t i = 0; i < dims.size(); i++) last += (dims[i] - 1) * strides[i];
  return last + 1;
}

Tensor tensor_of(const Descriptor &d) {
  Tensor t;
  t.uid = d.integer(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
  t.type = int(d.integer(CUDNN_ATTR_TENSOR_DATA_TYPE, 0));
  t.dims = d.ints(CUDNN_ATTR_TENSOR_DIMENSIONS);
  t.strides = d.ints(CUDNN_ATTR_TENSOR_STRIDES);
  t.alignment = d.integer(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1);
  t.is_virtual = d.integer(CUDNN_ATTR_TENSOR_IS_VIRTUAL, 0) != 0;
  t.by_value = d.integer(CUDNN_ATTR_TENSOR_IS_BY_VALUE, 0) != 0;
  return t;
}

namespace {

using Dims = std::vector<int64_t>;

// Attributes under which each kind of operation names its results.
const std::map<int, std::vector<int>> &result_names() {
  static const std::map<int, std::vector<int>> names = {
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW}},
      {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
        CUDNN_ATTR_OPERATION_POINTWISE_DXDESC}},
      {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_MATMUL_CDESC}},
      {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_REDUCTION_YDESC}},
      {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_RESHAPE_YDESC}},
      {CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_RNG_YDESC}},
      {CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC}},
      {CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DXDESC}},
      {CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_NORM_FWD_YDESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC}},
      {CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC,
        CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC,
        CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC}},
  };
  return names;
}

bool is_result(const Descriptor &op, int name) {
  auto it = result_names().find(op.kind);
  if (it == result_names().end()) return false;
  // Statistics are results of training and operands of inference.
  if (op.kind == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR &&
      (name == CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC ||
       name == CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC))
    return op.integer(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, 0) ==
           CUDNN_NORM_FWD_TRAINING;
  return std::count(it->second.begin(), it->second.end(), name) > 0;
}

Dims row_major(const Dims &dims) {
  Dims strides(dims.size());
  int64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= dims[i];
  }
  return strides;
}

// Calls f with the coordinates of every element, in row-major order.
void each(const Dims &dims, const std::function<void(const Dims &)> &f) {
  Dims at(dims.size(), 0);
  while (true) {
    f(at);
    size_t i = dims.size();
    while (i-- > 0) {
      if (++at[i] < dims[i]) break;
      at[i] = 0;
    }
    if (i == size_t(-1)) return;
  }
}

// Offset of a coordinate in a tensor that repeats along its axes of extent 1;
// an extent that divides another stands for several neighbours.
int64_t repeated(const Dims &at, const Dims &full, const Dims &dims,
                 const Dims &strides) {
  int64_t offset = 0;
  for (size_t i = 0; i < dims.size(); i++)
    offset += at[i] * dims[i] / full[i] * strides[i];
  return offset;
}

double load_element(const void *memory, int type, int64_t i) {
  const uint8_t *p = static_cast<const uint8_t *>(memory) +
                     size_t(i) * size_of_data(type);
  uint16_t half;
  switch (type) {
  case CUDNN_DATA_FLOAT: { float v; memcpy(&v, p, 4); return v; }
  case CUDNN_DATA_DOUBLE: { double v; memcpy(&v, p, 8); return v; }
  case CUDNN_DATA_HALF: memcpy(&half, p, 2); return host::half_to_float(half);
  case CUDNN_DATA_BFLOAT16:
    memcpy(&half, p, 2);
    return host::bf16_to_float(half);
  case CUDNN_DATA_INT32: { int32_t v; memcpy(&v, p, 4); return v; }
  case CUDNN_DATA_INT64: { int64_t v; memcpy(&v, p, 8); return double(v); }
  case CUDNN_DATA_INT8: return *reinterpret_cast<const int8_t *>(p);
  default: return *p;
  }
}

void store_element(void *memory, int type, int64_t i, double value) {
  uint8_t *p = static_cast<uint8_t *>(memory) + size_t(i) * size_of_data(type);
  uint16_t half;
  switch (type) {
  case CUDNN_DATA_FLOAT: { float v = float(value); memcpy(p, &v, 4); break; }
  case CUDNN_DATA_DOUBLE: memcpy(p, &value, 8); break;
  case CUDNN_DATA_HALF:
    half = host::float_to_half(float(value));
    memcpy(p, &half, 2);
    break;
  case CUDNN_DATA_BFLOAT16:
    half = host::float_to_bf16(float(value));
    memcpy(p, &half, 2);
    break;
  case CUDNN_DATA_INT32: { int32_t v = int32_t(value); memcpy(p, &v, 4); break; }
  case CUDNN_DATA_INT64: { int64_t v = int64_t(value); memcpy(p, &v, 8); break; }
  default: *p = uint8_t(int(value)); break;
  }
}

double rounded_to(int type, double value) {
  if (type == CUDNN_DATA_DOUBLE) return value;
  uint8_t bytes[8] = {};
  store_element(bytes, type, 0, value);
  return load_element(bytes, type, 0);
}

// The mantissa of TF32 has 10 bits.
float to_tf32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7f800000) != 0x7f800000)
    bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
  memcpy(&value, &bits, 4);
  return value;
}

template <typename T> class Interpreter {
public:
  Interpreter(const std::map<int64_t, void *> &memory, bool rounding)
      : memory(memory), rounding(rounding) {}

  void run(const Descriptor &op);
  bool ready(const Descriptor &op) const {
    for (const auto &[name, v] : op.values)
      for (const Ref &r : v.refs) {
        if (r->kind != CUDNN_BACKEND_TENSOR_DESCRIPTOR || is_result(op, name))
          continue;
        Tensor t = tensor_of(*r);
        if (t.is_virtual && !kept.count(t.uid)) return false;
      }
    return true;
  }

private:
  const std::map<int64_t, void *> &memory;
  bool rounding;
  std::map<int64_t, std::vector<T>> kept; // virtual tensors, row-major

  std::vector<T> load(const Tensor &t) const {
    if (t.is_virtual) return kept.at(t.uid);
    std::vector<T> out(size_t(t.size()));
    const void *p = memory.at(t.uid);
    size_t i = 0;
    each(t.dims, [&](const Dims &at) {
      int64_t offset = 0;
      for (size_t d = 0; d < at.size(); d++) offset += at[d] * t.strides[d];
      out[i++] = T(load_element(p, t.type, offset));
    });
    return out;
  }
  void store(const Tensor &t, std::vector<T> values) {
    if (t.is_virtual) {
      for (T &v : values) v = T(rounded_to(t.type, v));
      kept[t.uid] = std::move(values);
      return;
    }
    void *p = memory.at(t.uid);
    size_t i = 0;
    each(t.dims, [&](const Dims &at) {
      int64_t offset = 0;
      for (size_t d = 0; d < at.size(); d++) offset += at[d] * t.strides[d];
      store_element(p, t.type, offset, values[i++]);
    });
  }
  static Tensor at(const Descriptor &op, int name) {
    return tensor_of(*op.ref(name));
  }
  int64_t whole(const Tensor &t) const {
    int64_t v;
    memcpy(&v, memory.at(t.uid), 8);
    return v;
  }

  void convolution(const Descriptor &op, int settings, int x, int w, int y,
                   int alpha, int beta, int which);
  void pointwise(const Descriptor &op);
  void matmul(const Descriptor &op);
  void reduction(const Descriptor &op);
  void reshape(const Descriptor &op);
  void rng(const Descriptor &op);
  void resample(const Descriptor &op);
  void resample_gradient(const Descriptor &op);
  void norm(const Descriptor &op);
  void norm_gradient(const Descriptor &op);
};

template <typename T> void Interpreter<T>::run(const Descriptor &op) {
  switch (op.kind) {
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    return convolution(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0);
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    return convolution(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 1);
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
    return convolution(op,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 2);
  case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: return pointwise(op);
  case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR: return matmul(op);
  case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR: return reduction(op);
  case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR: return reshape(op);
  case CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR: return rng(op);
  case CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR: return resample(op);
  case CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR:
    return resample_gradient(op);
  case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR: return norm(op);
  case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
    return norm_gradient(op);
  default:
    host::violation("cudnn: an operation of kind %d was planned", op.kind);
  }
}

// Three spatial values, the missing ones in front.
Dims three(Dims values, int64_t first) {
  while (values.size() < 3) values.insert(values.begin(), first);
  return values;
}
Dims spatial(const Tensor &t) {
  return three(Dims(t.dims.begin() + 2, t.dims.end()), 1);
}

template <typename T>
void Interpreter<T>::convolution(const Descriptor &op, int settings, int xn,
                                 int wn, int yn, int alpha, int beta,
                                 int which) {
  Tensor tx = at(op, xn), tw = at(op, wn), ty = at(op, yn);
  Ref c = op.ref(settings);
  Dims step = three(c->ints(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES), 1),
       reach = three(c->ints(CUDNN_ATTR_CONVOLUTION_DILATIONS), 1),
       pad = three(c->ints(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS), 0);
  Dims in = spatial(tx), taps = spatial(tw), out = spatial(ty);
  bool flipped = c->integer(CUDNN_ATTR_CONVOLUTION_CONV_MODE, 1) ==
                 CUDNN_CONVOLUTION;
  auto operand = [&](const Tensor &t, bool result) {
    if (result) return std::vector<T>(size_t(t.size()), T(0));
    std::vector<T> values = load(t);
    if (rounding && t.type == CUDNN_DATA_FLOAT)
      for (T &v : values) v = T(to_tf32(float(v)));
    return values;
  };
  std::vector<T> x = operand(tx, which == 1), w = operand(tw, which == 2),
                 y = operand(ty, which == 0);
  int64_t filters = tw.dims[0], depth = tw.dims[1],
          rows = filters / (tx.dims[1] / depth);
  int64_t xplane = in[0] * in[1] * in[2], yplane = out[0] * out[1] * out[2];
  T *xp = x.data(), *wp = w.data(), *yp = y.data();
  for (int64_t n = 0; n < tx.dims[0]; n++)
    for (int64_t m = 0; m < filters; m++)
      for (int64_t k = 0; k < depth; k++) {
        T *xs = xp + (n * tx.dims[1] + m / rows * depth + k) * xplane;
        T *ys = yp + (n * filters + m) * yplane;
        for (int64_t a = 0; a < taps[0]; a++)
          for (int64_t b = 0; b < taps[1]; b++)
            for (int64_t e = 0; e < taps[2]; e++) {
              int64_t tap = (a * taps[1] + b) * taps[2] + e;
              int64_t count = taps[0] * taps[1] * taps[2];
              if (flipped) tap = count - 1 - tap;
              T &weight = wp[(m * depth + k) * count + tap];
              T sum = 0;
              for (int64_t i = 0; i < out[0]; i++) {
                int64_t xi = i * step[0] - pad[0] + a * reach[0];
                if (xi < 0 || xi >= in[0]) continue;
                for (int64_t j = 0; j < out[1]; j++) {
                  int64_t xj = j * step[1] - pad[1] + b * reach[1];
                  if (xj < 0 || xj >= in[1]) continue;
                  T *xr = xs + (xi * in[1] + xj) * in[2];
                  T *yr = ys + (i * out[1] + j) * out[2];
                  for (int64_t l = 0; l < out[2]; l++) {
                    int64_t xl = l * step[2] - pad[2] + e * reach[2];
                    if (xl < 0 || xl >= in[2]) continue;
                    if (which == 0) yr[l] += weight * xr[xl];
                    else if (which == 1) xr[xl] += weight * yr[l];
                    else sum += xr[xl] * yr[l];
                  }
                }
              }
              if (which == 2) weight += sum;
            }
      }
  const Tensor &target = which == 0 ? ty : which == 1 ? tx : tw;
  std::vector<T> &result = which == 0 ? y : which == 1 ? x : w;
  T scale = T(op.real(alpha, 1)), keep = T(op.real(beta, 0));
  if (keep != 0) {
    std::vector<T> before = load(target);
    for (size_t i = 0; i < result.size(); i++)
      result[i] = scale * result[i] + keep * before[i];
  } else if (scale != 1)
    for (T &v : result) v *= scale;
  store(target, std::move(result));
}

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
  each(ty.dims, [&](const Dims &c) {
    if (mode == CUDNN_POINTWISE_GEN_INDEX) {
      y[i++] = T(c[size_t(axis)]);
      return;
    }
    T left = x[size_t(repeated(c, ty.dims, tx.dims, xs))] * alpha;
    T right = b.empty() ? T(0)
                        : b[size_t(repeated(c, ty.dims, bd, bs))] * beta;
    y[i++] = mode == CUDNN_POINTWISE_BINARY_SELECT
                 ? (t[size_t(repeated(c, ty.dims, td, ts))] != 0 ? left : right)
                 : forward_mode<T>(mode, left, right, s);
  });
  store(ty, std::move(y));
}

template <typename T> void Interpreter<T>::matmul(const Descriptor &op) {
  Tensor ta = at(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC),
         tb = at(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC),
         tc = at(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
  std::vector<T> a = load(ta), b = load(tb), c(size_t(tc.size()));
  size_t rank = tc.dims.size();
  Dims batch(tc.dims.begin(), tc.dims.end() - 2);
  int64_t m = tc.dims[rank - 2], n = tc.dims[rank - 1], k = ta.dims[rank - 1];
  Dims ad(ta.dims.begin(), ta.dims.end() - 2),
      bd(tb.dims.begin(), tb.dims.end() - 2);
  Dims as = row_major(ad), bs = row_major(bd);
  size_t which = 0;
  each(batch, [&](const Dims &at) {
    const T *pa = a.data() + repeated(at, batch, ad, as) * m * k;
    const T *pb = b.data() + repeated(at, batch, bd, bs) * k * n;
    T *pc = c.data() + int64_t(which++) * m * n;
    for (int64_t i = 0; i < m; i++)
      for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < n; j++)
          pc[i * n + j] += pa[i * k + l] * pb[l * n + j];
  });
  store(tc, std::move(c));
}

template <typename T> void Interpreter<T>::reduction(const Descriptor &op) {
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC),
         ty = at(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
  int64_t how = op.ref(CUDNN_ATTR_OPERATION_REDUCTION_DESC)
                    ->integer(CUDNN_ATTR_REDUCTION_OPERATOR, 0);
  const T most = std::numeric_limits<T>::infinity();
  T start = how == CUDNN_REDUCE_TENSOR_MUL   ? T(1)
            : how == CUDNN_REDUCE_TENSOR_MIN ? most
            : how == CUDNN_REDUCE_TENSOR_MAX ? -most
                                             : T(0);
  std::vector<T> x = load(tx), y(size_t(ty.size()), start);
  Dims ys = row_major(ty.dims);
  size_t i = 0;
  each(tx.dims, [&](const Dims &c) {
    T &r = y[size_t(repeated(c, tx.dims, ty.dims, ys))], v = x[i++];
    switch (how) {
    case CUDNN_REDUCE_TENSOR_MUL: r *= v; break;
    case CUDNN_REDUCE_TENSOR_MIN: r = v != v || v < r ? v : r; break;
    case CUDNN_REDUCE_TENSOR_MAX: r = v != v || v > r ? v : r; break;
    case CUDNN_REDUCE_TENSOR_AMAX: r = std::max<T>(r, std::fabs(v)); break;
    case CUDNN_REDUCE_TENSOR_NORM1: r += std::fabs(v); break;
    case CUDNN_REDUCE_TENSOR_NORM2: r += v * v; break;
    default: r += v;
    }
  });
  T count = T(tx.size() / ty.size());
  for (T &r : y) {
    if (how == CUDNN_REDUCE_TENSOR_AVG) r /= count;
    if (how == CUDNN_REDUCE_TENSOR_NORM2) r = std::sqrt(r);
  }
  store(ty, std::move(y));
}

// The elements of x in the order of its memory, seen through the strides of y.
template <typename T> void Interpreter<T>::reshape(const Descriptor &op) {
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC),
         ty = at(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
  std::vector<T> x = load(tx), flat(size_t(std::max(tx.span(), ty.span()))), y;
  size_t i = 0;
  auto offset = [](const Tensor &t, const Dims &c) {
    int64_t o = 0;
    for (size_t d = 0; d < c.size(); d++) o += c[d] * t.strides[d];
    return size_t(o);
  };
  each(tx.dims, [&](const Dims &c) { flat[offset(tx, c)] = x[i++]; });
  each(ty.dims, [&](const Dims &c) { y.push_back(flat[offset(ty, c)]); });
  store(ty, std::move(y));
}

template <typename T> void Interpreter<T>::rng(const Descriptor &op) {
  Tensor ty = at(op, CUDNN_ATTR_OPERATION_RNG_YDESC);
  double keep = op.ref(CUDNN_ATTR_OPERATION_RNG_DESC)
                    ->real(CUDNN_ATTR_RNG_BERNOULLI_DIST_PROBABILITY, 0.5);
  Ref seed_at = op.ref(CUDNN_ATTR_OPERATION_RNG_SEED);
  uint64_t seed = seed_at ? uint64_t(whole(tensor_of(*seed_at)))
                          : uint64_t(op.integer(CUDNN_ATTR_OPERATION_RNG_SEED, 0));
  if (op.has(CUDNN_ATTR_OPERATION_RNG_OFFSET_DESC))
    seed += 0x9e3779b97f4a7c15u *
            uint64_t(whole(at(op, CUDNN_ATTR_OPERATION_RNG_OFFSET_DESC)));
  std::vector<T> y(size_t(ty.size()));
  for (size_t i = 0; i < y.size(); i++) {
    uint64_t z = seed + 0xbf58476d1ce4e5b9u * (i + 1);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    y[i] = double((z ^ z >> 31) >> 11) * 0x1p-53 < keep ? T(1) : T(0);
  }
  store(ty, std::move(y));
}

// The windows of a resampling.
struct Pooling {
  Dims window, stride, before, after, in, out;
  int64_t mode, padding, planes;

  Pooling(const Descriptor &r, const Tensor &x, const Tensor &y)
      : window(three(r.ints(CUDNN_ATTR_RESAMPLE_WINDOW_DIMS), 1)),
        stride(three(r.ints(CUDNN_ATTR_RESAMPLE_STRIDES), 1)),
        before(three(r.ints(CUDNN_ATTR_RESAMPLE_PRE_PADDINGS), 0)),
        after(three(r.ints(CUDNN_ATTR_RESAMPLE_POST_PADDINGS), 0)),
        in(spatial(x)), out(spatial(y)),
        mode(r.integer(CUDNN_ATTR_RESAMPLE_MODE, 0)),
        padding(r.integer(CUDNN_ATTR_RESAMPLE_PADDING_MODE, 0)),
        planes(x.dims[0] * x.dims[1]) {}

  // Calls f(window, cell or -1 in the padding) for every tap, window by window.
  template <typename F> void each_tap(F f) const {
    int64_t i = 0;
    for (int64_t p = 0; p < planes; p++)
      each(out, [&](const Dims &o) {
        each(window, [&](const Dims &k) {
          int64_t cell = 0;
          bool inside = true;
          for (size_t d = 0; d < 3; d++) {
            int64_t c = o[d] * stride[d] - before[d] + k[d];
            inside = inside && c >= 0 && c < in[d];
            cell = cell * in[d] + c;
          }
          f(i, inside ? p * in[0] * in[1] * in[2] + cell : -1);
        });
        i++;
      });
  }
  int64_t taps() const { return window[0] * window[1] * window[2]; }
};

template <typename T> void Interpreter<T>::resample(const Descriptor &op) {
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC),
         ty = at(op, CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC);
  Pooling p(*op.ref(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC), tx, ty);
  bool largest = p.mode == CUDNN_RESAMPLE_MAXPOOL;
  const T lowest = -std::numeric_limits<T>::infinity();
  std::vector<T> x = load(tx), y(size_t(ty.size()), largest ? lowest : T(0));
  std::vector<int64_t> counts(y.size(), 0);
  p.each_tap([&](int64_t i, int64_t cell) {
    T v = cell >= 0                            ? x[size_t(cell)]
          : p.padding == CUDNN_NEG_INF_PAD     ? lowest
                                               : T(0);
    T &r = y[size_t(i)];
    if (largest) r = v != v || v > r ? v : r;
    else if (cell >= 0) r += v;
    counts[size_t(i)] += cell >= 0;
  });
  if (!largest)
    for (size_t i = 0; i < y.size(); i++)
      y[i] /= T(p.mode == CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING
                    ? counts[i]
                    : p.taps());
  store(ty, std::move(y));
}

template <typename T>
void Interpreter<T>::resample_gradient(const Descriptor &op) {
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DXDESC),
         ty = at(op, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DYDESC);
  Pooling p(*op.ref(CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DESC), tx, ty);
  std::vector<T> dy = load(ty), dx(size_t(tx.size()), T(0));
  if (p.mode == CUDNN_RESAMPLE_MAXPOOL) {
    std::vector<T> x = load(at(op, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_XDESC));
    std::vector<int64_t> winner(dy.size(), -1);
    p.each_tap([&](int64_t i, int64_t cell) {
      int64_t &w = winner[size_t(i)];
      if (cell >= 0 && (w < 0 || x[size_t(cell)] > x[size_t(w)] ||
                        x[size_t(cell)] != x[size_t(cell)]))
        w = cell;
    });
    for (size_t i = 0; i < dy.size(); i++)
      if (winner[i] >= 0) dx[size_t(winner[i])] += dy[i];
  } else {
    std::vector<int64_t> counts(dy.size(), 0);
    p.each_tap([&](int64_t i, int64_t cell) { counts[size_t(i)] += cell >= 0; });
    p.each_tap([&](int64_t i, int64_t cell) {
      if (cell >= 0)
        dx[size_t(cell)] +=
            dy[size_t(i)] / T(p.mode == CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING
                                  ? counts[size_t(i)]
                                  : p.taps());
    });
  }
  store(tx, std::move(dx));
}

// Extents of the statistics of a normalisation.
Dims rows_of(int64_t mode, const Dims &x, const Dims &scale) {
  Dims rows = x;
  for (size_t d = 0; d < x.size(); d++) {
    bool reduced = mode == CUDNN_BATCH_NORM      ? d != 1
                   : mode == CUDNN_INSTANCE_NORM ? d >= 2
                                                 : scale[d] != 1;
    if (reduced) rows[d] = 1;
  }
  return rows;
}

int64_t product(const Dims &dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

template <typename T> void Interpreter<T>::norm(const Descriptor &op) {
  int64_t mode = op.integer(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, 0);
  bool training = op.integer(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, 0) ==
                  CUDNN_NORM_FWD_TRAINING;
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_NORM_FWD_XDESC),
         ty = at(op, CUDNN_ATTR_OPERATION_NORM_FWD_YDESC),
         ts = at(op, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC);
  std::vector<T> x = load(tx), scale = load(ts), bias;
  if (op.has(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC))
    bias = load(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC));
  T eps = load(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC))[0];
  Dims rows = rows_of(mode, tx.dims, ts.dims), rs = row_major(rows),
       ss = row_major(ts.dims);
  T count = T(tx.size() / product(rows));
  std::vector<T> mean(size_t(product(rows)), T(0)), var(mean.size(), T(0));
  auto row = [&](const Dims &c) {
    return size_t(repeated(c, tx.dims, rows, rs));
  };
  size_t i = 0;
  if (mode != CUDNN_RMS_NORM)
    each(tx.dims, [&](const Dims &c) { mean[row(c)] += x[i++] / count; });
  i = 0;
  each(tx.dims, [&](const Dims &c) {
    T d = x[i++] - mean[row(c)];
    var[row(c)] += d * d / count;
  });
  std::vector<T> inverse(var.size());
  for (size_t r = 0; r < var.size(); r++)
    inverse[r] = 1 / std::sqrt(var[r] + eps);
  std::vector<T> y(x.size());
  i = 0;
  each(tx.dims, [&](const Dims &c) {
    size_t r = row(c), s = size_t(repeated(c, tx.dims, ts.dims, ss));
    y[i] = (x[i] - mean[r]) * inverse[r] * scale[s] +
           (bias.empty() ? T(0) : bias[s]);
    i++;
  });
  store(ty, std::move(y));
  if (!training) return;
  if (op.has(CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC)) {
    T share = load(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC))[0];
    std::vector<T> m =
        load(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC));
    std::vector<T> v =
        load(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC));
    for (size_t r = 0; r < m.size(); r++) {
      m[r] = (1 - share) * m[r] + share * mean[r];
      v[r] = (1 - share) * v[r] + share * var[r] * count / (count - 1);
    }
    store(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC), m);
    store(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC), v);
  }
  if (op.has(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC))
    store(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC), mean);
  if (op.has(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC))
    store(at(op, CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC), inverse);
}

template <typename T> void Interpreter<T>::norm_gradient(const Descriptor &op) {
  int64_t mode = op.integer(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, 0);
  Tensor tx = at(op, CUDNN_ATTR_OPERATION_NORM_BWD_XDESC),
         ts = at(op, CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC);
  std::vector<T> x = load(tx), scale = load(ts),
                 dy = load(at(op, CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC)),
                 inverse =
                     load(at(op, CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC)),
                 mean(inverse.size(), T(0));
  if (op.has(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC))
    mean = load(at(op, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC));
  Dims rows = rows_of(mode, tx.dims, ts.dims), rs = row_major(rows),
       ss = row_major(ts.dims);
  T count = T(tx.size() / product(rows));
  std::vector<T> dscale(scale.size(), T(0)), dbias(scale.size(), T(0)),
      first(inverse.size(), T(0)), second(inverse.size(), T(0)), dx(x.size());
  auto walk = [&](auto f) {
    size_t i = 0;
    each(tx.dims, [&](const Dims &c) {
      size_t r = size_t(repeated(c, tx.dims, rows, rs)),
             s = size_t(repeated(c, tx.dims, ts.dims, ss));
      f(i, r, s, (x[i] - mean[r]) * inverse[r]);
      i++;
    });
  };
  walk([&](size_t i, size_t r, size_t s, T normal) {
    dscale[s] += dy[i] * normal;
    dbias[s] += dy[i];
    first[r] += dy[i] * scale[s] / count;
    second[r] += dy[i] * scale[s] * normal / count;
  });
  walk([&](size_t i, size_t r, size_t s, T normal) {
    T off = mode == CUDNN_RMS_NORM ? T(0) : first[r];
    dx[i] = inverse[r] * (dy[i] * scale[s] - off - normal * second[r]);
  });
  store(at(op, CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC), dx);
  store(at(op, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC), dscale);
  if (op.has(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC))
    store(at(op, CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC), dbias);
}

template <typename T>
void run_all(const std::vector<Ref> &operations,
             const std::map<int64_t, void *> &memory, bool rounding) {
  Interpreter<T> interpreter(memory, rounding);
  std::vector<Ref> waiting = operations;
  while (!waiting.empty()) {
    auto next = std::find_if(waiting.begin(), waiting.end(), [&](const Ref &op) {
      return interpreter.ready(*op);
    });
    if (next == waiting.end()) {
      host::violation("cudnn: a graph that waits for itself was executed");
      return;
    }
    interpreter.run(**next);
    waiting.erase(next);
  }
}

template <typename F> void each_tensor(const std::vector<Ref> &operations, F f) {
  for (const Ref &op : operations)
    for (const auto &[name, v] : op->values)
      for (const Ref &t : v.refs)
        if (t->kind == CUDNN_BACKEND_TENSOR_DESCRIPTOR)
          f(tensor_of(*t), is_result(*op, name));
}

} // namespace

std::vector<Tensor> bound_tensors(const std::vector<Ref> &operations) {
  std::vector<Tensor> found;
  std::set<int64_t> seen;
  each_tensor(operations, [&](const Tensor &t, bool) {
    if (!t.is_virtual && seen.insert(t.uid).second) found.push_back(t);
  });
  return found;
}

bool written(const std::vector<Ref> &operations, int64_t uid) {
  bool found = false;
  each_tensor(operations, [&](const Tensor &t, bool result) {
    found = found || (result && t.uid == uid);
  });
  return found;
}

std::vector<Engine> engines_for(const std::vector<Ref> &operations) {
  int heads = 0, others = 0;
  bool plain = true, doubles = false;
  for (const Ref &op : operations) {
    switch (op->kind) {
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: {
      others++;
      int64_t mode = op->ref(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
                         ->integer(CUDNN_ATTR_POINTWISE_MODE, 0);
      plain = plain && (mode == CUDNN_POINTWISE_ADD ||
                        mode == CUDNN_POINTWISE_RELU_FWD);
      break;
    }
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR: others++; break;
    default: heads++;
    }
  }
  each_tensor(operations, [&](const Tensor &t, bool) {
    doubles = doubles || t.type == CUDNN_DATA_DOUBLE;
  });
  // Normalisations load 16 bytes of channels that lie last at once.
  for (const Ref &op : operations) {
    int name = op->kind == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR
                   ? CUDNN_ATTR_OPERATION_NORM_FWD_XDESC
               : op->kind == CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR
                   ? CUDNN_ATTR_OPERATION_NORM_BWD_XDESC
                   : -1;
    if (name < 0) continue;
    Tensor x = tensor_of(*op->ref(name));
    if (x.strides[1] == 1 && x.dims[1] * size_of_data(x.type) % 16 != 0)
      return {};
  }
  // One convolution, pooling or normalisation, with what follows it; f64 has
  // only the engines that were compiled beforehand.
  if (heads > 1) return {};
  if (doubles && others > 0 && (heads == 0 || !plain)) return {};
  std::vector<Engine> engines;
  if (!doubles)
    engines.push_back({0,
                       {CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
                        CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS},
                       256});
  engines.push_back({1, {}, 4096});
  engines.push_back({2, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, 0});
  return engines;
}

void interpret(const std::vector<Ref> &operations,
               const std::map<int64_t, void *> &memory, bool rounding) {
  bool doubles = false;
  each_tensor(operations, [&](const Tensor &t, bool) {
    doubles = doubles || t.type == CUDNN_DATA_DOUBLE;
  });
  if (doubles) run_all<double>(operations, memory, false);
  else run_all<float>(operations, memory, rounding);
}

} // namespace dnn
