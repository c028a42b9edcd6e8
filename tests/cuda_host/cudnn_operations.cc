// What the operations of a graph read and write, and the engines for them.
#include "cudnn_interpreter.h"

#include <algorithm>
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

template <typename F> void each_tensor(const std::vector<Ref> &operations, F f) {
  for (const Ref &op : operations)
    for (const auto &[name, v] : op->values)
      for (const Ref &t : v.refs)
        if (t->kind == CUDNN_BACKEND_TENSOR_DESCRIPTOR)
          f(tensor_of(*t), is_result(*op, name));
}

} // namespace

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

bool computes_doubles(const std::vector<Ref> &operations) {
  bool found = false;
  each_tensor(operations, [&](const Tensor &t, bool) {
    found = found || t.type == CUDNN_DATA_DOUBLE;
  });
  return found;
}

std::vector<Engine> engines_for(const std::vector<Ref> &operations) {
  int heads = 0, others = 0;
  bool plain = true, doubles = computes_doubles(operations);
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

} // namespace dnn
