// Coordinates and elements of tensors, and the order of a graph's operations.
#include "cudnn_interpreter.h"

#include <algorithm>
#include <cstring>

namespace dnn {

Dims row_major(const Dims &dims) {
  Dims strides(dims.size());
  int64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= dims[i];
  }
  return strides;
}

Coordinates &Coordinates::operator++() {
  size_t i = at.size();
  while (i-- > 0) {
    if (++at[i] < dims[i]) return *this;
    at[i] = 0;
  }
  left = false;
  return *this;
}

int64_t repeated(const Dims &at, const Dims &full, const Dims &dims,
                 const Dims &strides) {
  int64_t offset = 0;
  for (size_t i = 0; i < dims.size(); i++)
    offset += at[i] * dims[i] / full[i] * strides[i];
  return offset;
}

Dims three(Dims values, int64_t first) {
  while (values.size() < 3) values.insert(values.begin(), first);
  return values;
}

Dims spatial(const Tensor &t) {
  return three(Dims(t.dims.begin() + 2, t.dims.end()), 1);
}

namespace {

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

} // namespace

template <typename T>
std::vector<T> Interpreter<T>::load(const Tensor &t) const {
  if (t.is_virtual) return kept.at(t.uid);
  std::vector<T> out(size_t(t.size()));
  const void *p = memory.at(t.uid);
  size_t i = 0;
  for (const Dims &at : each(t.dims)) {
    int64_t offset = 0;
    for (size_t d = 0; d < at.size(); d++) offset += at[d] * t.strides[d];
    out[i++] = T(load_element(p, t.type, offset));
  }
  return out;
}

template <typename T>
void Interpreter<T>::store(const Tensor &t, std::vector<T> values) {
  if (t.is_virtual) {
    for (T &v : values) v = T(rounded_to(t.type, v));
    kept[t.uid] = std::move(values);
    return;
  }
  void *p = memory.at(t.uid);
  size_t i = 0;
  for (const Dims &at : each(t.dims)) {
    int64_t offset = 0;
    for (size_t d = 0; d < at.size(); d++) offset += at[d] * t.strides[d];
    store_element(p, t.type, offset, values[i++]);
  }
}

template <typename T> int64_t Interpreter<T>::whole(const Tensor &t) const {
  int64_t v;
  memcpy(&v, memory.at(t.uid), 8);
  return v;
}

template <typename T> bool Interpreter<T>::ready(const Descriptor &op) const {
  for (const auto &[name, v] : op.values)
    for (const Ref &r : v.refs) {
      if (r->kind != CUDNN_BACKEND_TENSOR_DESCRIPTOR || is_result(op, name))
        continue;
      Tensor t = tensor_of(*r);
      if (t.is_virtual && !kept.count(t.uid)) return false;
    }
  return true;
}

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

template class Interpreter<float>;
template class Interpreter<double>;

namespace {

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

} // namespace

void interpret(const std::vector<Ref> &operations,
               const std::map<int64_t, void *> &memory, bool rounding) {
  if (computes_doubles(operations)) run_all<double>(operations, memory, false);
  else run_all<float>(operations, memory, rounding);
}

} // namespace dnn
