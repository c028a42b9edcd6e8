// What finalization looks for: attributes that are missing, extents that do
// not go together. The condition is named, as the real library names it.
#include "cudnn_stand_in.h"

#include <algorithm>
#include <set>

namespace dnn {

namespace {

using Dims = std::vector<int64_t>;

#define REQUIRE(condition, ...)                                                \
  do {                                                                         \
    if (!(condition)) return refuse(CUDNN_STATUS_BAD_PARAM, __VA_ARGS__);      \
  } while (0)

// The extents of a tensor that an attribute names.
Dims dims_at(const Descriptor &d, int name) {
  Ref t = d.ref(name);
  return t ? t->ints(CUDNN_ATTR_TENSOR_DIMENSIONS) : Dims();
}

cudnnStatus_t check_tensor(const Descriptor &d) {
  Tensor t = tensor_of(d);
  REQUIRE(t.dims.size() == t.strides.size(),
          "tensor %lld: %zu dimensions and %zu strides", (long long)t.uid,
          t.dims.size(), t.strides.size());
  for (size_t i = 0; i < t.dims.size(); i++) {
    REQUIRE(t.dims[i] > 0, "tensor %lld: dimension %zu is %lld",
            (long long)t.uid, i, (long long)t.dims[i]);
    REQUIRE(t.strides[i] >= 0, "tensor %lld: stride %zu is %lld",
            (long long)t.uid, i, (long long)t.strides[i]);
  }
  REQUIRE(t.alignment > 0 && (t.alignment & (t.alignment - 1)) == 0 &&
              t.alignment % int64_t(size_of_data(t.type)) == 0,
          "tensor %lld: alignment %lld of elements of %zu bytes",
          (long long)t.uid, (long long)t.alignment, size_of_data(t.type));
  REQUIRE(!(t.is_virtual && t.by_value), "tensor %lld is virtual and by value",
          (long long)t.uid);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_convolution(const Descriptor &d) {
  int64_t n = d.integer(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0);
  REQUIRE(n >= 1 && n <= 3, "%lld spatial dimensions", (long long)n);
  for (int name :
       {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
        CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS,
        CUDNN_ATTR_CONVOLUTION_POST_PADDINGS}) {
    Dims values = d.ints(name);
    REQUIRE(int64_t(values.size()) == n, "attribute %d has %zu of %lld values",
            name, values.size(), (long long)n);
    bool padding = name == CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS ||
                   name == CUDNN_ATTR_CONVOLUTION_POST_PADDINGS;
    for (int64_t v : values)
      REQUIRE(v >= (padding ? 0 : 1), "attribute %d is %lld", name,
              (long long)v);
  }
  return CUDNN_STATUS_SUCCESS;
}

// y = x * w by extents.
cudnnStatus_t check_windows(const Descriptor &op, int settings, int xn, int wn,
                            int yn) {
  Ref c = op.ref(settings);
  Dims x = dims_at(op, xn), w = dims_at(op, wn), y = dims_at(op, yn);
  size_t n = size_t(c->integer(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0));
  REQUIRE(x.size() == n + 2 && w.size() == n + 2 && y.size() == n + 2,
          "tensors of %zu, %zu and %zu dimensions for %zu spatial ones",
          x.size(), w.size(), y.size(), n);
  REQUIRE(x[0] == y[0], "batches of %lld and %lld", (long long)x[0],
          (long long)y[0]);
  REQUIRE(w[0] == y[1], "%lld filters for %lld channels", (long long)w[0],
          (long long)y[1]);
  REQUIRE(x[1] % w[1] == 0 && w[0] % (x[1] / w[1]) == 0,
          "%lld channels, %lld of a filter, %lld filters", (long long)x[1],
          (long long)w[1], (long long)w[0]);
  Dims dilation = c->ints(CUDNN_ATTR_CONVOLUTION_DILATIONS),
       stride = c->ints(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
       before = c->ints(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
       after = c->ints(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
  for (size_t i = 0; i < n; i++) {
    int64_t room = x[2 + i] + before[i] + after[i] -
                   (dilation[i] * (w[2 + i] - 1) + 1);
    REQUIRE(room >= 0, "a window larger than the padded image on axis %zu", i);
    REQUIRE(room / stride[i] + 1 == y[2 + i],
            "output size on axis %zu is %lld, and %lld was expected", i,
            (long long)y[2 + i], (long long)(room / stride[i] + 1));
  }
  return CUDNN_STATUS_SUCCESS;
}

// Whether `small` repeats to `large`.
bool broadcasts(const Dims &small, const Dims &large) {
  if (small.size() != large.size()) return false;
  for (size_t i = 0; i < small.size(); i++)
    if (small[i] != large[i] && small[i] != 1) return false;
  return true;
}

// Whether each extent of `small` divides that of `large`.
bool divides(const Dims &small, const Dims &large) {
  if (small.size() != large.size()) return false;
  for (size_t i = 0; i < small.size(); i++)
    if (large[i] % small[i] != 0) return false;
  return true;
}

cudnnStatus_t check_pointwise(const Descriptor &d) {
  if (d.has(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC)) {
    Dims x = dims_at(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC),
         dy = dims_at(d, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC),
         dx = dims_at(d, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC);
    REQUIRE(x == dy && dy == dx, "extents of x, dy and dx differ");
    return CUDNN_STATUS_SUCCESS;
  }
  Dims y = dims_at(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC),
       x = dims_at(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
  REQUIRE(!y.empty() && !x.empty(), "x or y is missing");
  REQUIRE(broadcasts(x, y), "x does not repeat to y");
  int64_t mode = d.ref(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
                     ->integer(CUDNN_ATTR_POINTWISE_MODE, 0);
  bool binary = mode <= 9 && mode != CUDNN_POINTWISE_SQRT;
  binary = binary || mode == CUDNN_POINTWISE_ATAN2 ||
           (mode >= CUDNN_POINTWISE_CMP_EQ && mode <= CUDNN_POINTWISE_CMP_LE) ||
           mode == CUDNN_POINTWISE_LOGICAL_AND ||
           mode == CUDNN_POINTWISE_LOGICAL_OR ||
           mode == CUDNN_POINTWISE_BINARY_SELECT;
  REQUIRE(binary == d.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC),
          "mode %lld takes %s operand", (long long)mode,
          binary ? "a second" : "one");
  REQUIRE((mode == CUDNN_POINTWISE_BINARY_SELECT) ==
              d.has(CUDNN_ATTR_OPERATION_POINTWISE_TDESC),
          "a mask belongs to selections, and only to them");
  if (binary)
    REQUIRE(broadcasts(dims_at(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC), y),
            "b does not repeat to y");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_matmul(const Descriptor &d) {
  Dims a = dims_at(d, CUDNN_ATTR_OPERATION_MATMUL_ADESC),
       b = dims_at(d, CUDNN_ATTR_OPERATION_MATMUL_BDESC),
       c = dims_at(d, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
  size_t n = c.size();
  REQUIRE(n >= 2 && a.size() == n && b.size() == n, "ranks %zu, %zu and %zu",
          a.size(), b.size(), n);
  REQUIRE(a[n - 2] == c[n - 2] && b[n - 1] == c[n - 1] && a[n - 1] == b[n - 2],
          "inner extents %lld and %lld", (long long)a[n - 1],
          (long long)b[n - 2]);
  // A batch may stand for several (grouped heads).
  for (size_t i = 0; i + 2 < n; i++)
    REQUIRE(c[i] % a[i] == 0 && c[i] % b[i] == 0,
            "batches of %lld, %lld and %lld on axis %zu", (long long)a[i],
            (long long)b[i], (long long)c[i], i);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_resample(const Descriptor &d, int settings, int xn,
                             int yn) {
  Ref r = d.ref(settings);
  Dims x = dims_at(d, xn), y = dims_at(d, yn);
  size_t n = size_t(r->integer(CUDNN_ATTR_RESAMPLE_SPATIAL_DIMS, 0));
  REQUIRE(x.size() == n + 2 && y.size() == n + 2 && x[0] == y[0] &&
              x[1] == y[1],
          "images of %zu and %zu dimensions for %zu spatial ones", x.size(),
          y.size(), n);
  Dims window = r->ints(CUDNN_ATTR_RESAMPLE_WINDOW_DIMS),
       stride = r->ints(CUDNN_ATTR_RESAMPLE_STRIDES),
       before = r->ints(CUDNN_ATTR_RESAMPLE_PRE_PADDINGS),
       after = r->ints(CUDNN_ATTR_RESAMPLE_POST_PADDINGS);
  REQUIRE(window.size() == n && stride.size() == n && before.size() == n &&
              after.size() == n,
          "window, stride and padding have %zu, %zu, %zu and %zu of %zu values",
          window.size(), stride.size(), before.size(), after.size(), n);
  for (size_t i = 0; i < n; i++) {
    int64_t room = x[2 + i] + before[i] + after[i] - window[i];
    REQUIRE(room >= 0 && room / stride[i] + 1 == y[2 + i],
            "output size on axis %zu is %lld, and %lld was expected", i,
            (long long)y[2 + i], (long long)(room / stride[i] + 1));
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_norm(const Descriptor &d, int xn, int yn, int scale,
                         int bias) {
  Dims x = dims_at(d, xn), y = dims_at(d, yn), s = dims_at(d, scale);
  REQUIRE(x == y, "extents of the operand and the result differ");
  REQUIRE(broadcasts(s, x), "the scale does not repeat to x");
  if (d.has(bias))
    REQUIRE(dims_at(d, bias) == s, "extents of scale and bias differ");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_graph(const Descriptor &d) {
  const auto &operations =
      d.values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).refs;
  std::map<int64_t, Ref> seen;
  for (const Ref &op : operations)
    for (const auto &[name, v] : op->values)
      for (const Ref &t : v.refs) {
        if (t->kind != CUDNN_BACKEND_TENSOR_DESCRIPTOR) continue;
        int64_t uid = t->integer(CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
        auto [it, fresh] = seen.emplace(uid, t);
        REQUIRE(fresh || it->second == t, "two tensors have the number %lld",
                (long long)uid);
      }
  for (const auto &[uid, t] : seen)
    if (t->integer(CUDNN_ATTR_TENSOR_IS_VIRTUAL, 0))
      REQUIRE(written(operations, uid),
              "virtual tensor %lld is read and never written", (long long)uid);
  return CUDNN_STATUS_SUCCESS;
}

} // namespace

cudnnStatus_t check(const Descriptor &d) {
  for (const Rule &rule : rules())
    if (rule.kind == d.kind && rule.required && !d.has(rule.name))
      return refuse(CUDNN_STATUS_BAD_PARAM, "%s: attribute %d is missing",
                    kind_name(d.kind), rule.name);
  switch (d.kind) {
  case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return check_tensor(d);
  case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return check_convolution(d);
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    return check_windows(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    return check_windows(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY);
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
    return check_windows(
        d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY);
  case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: return check_pointwise(d);
  case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR: return check_matmul(d);
  case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
    // Neighbours may be added up in groups (the heads that one key serves).
    REQUIRE(divides(dims_at(d, CUDNN_ATTR_OPERATION_REDUCTION_YDESC),
                    dims_at(d, CUDNN_ATTR_OPERATION_REDUCTION_XDESC)),
            "the extents of a reduction's result do not divide those of x");
    return CUDNN_STATUS_SUCCESS;
  case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
    REQUIRE(tensor_of(*d.ref(CUDNN_ATTR_OPERATION_RESHAPE_XDESC)).size() ==
                tensor_of(*d.ref(CUDNN_ATTR_OPERATION_RESHAPE_YDESC)).size(),
            "a reshape between different numbers of elements");
    return CUDNN_STATUS_SUCCESS;
  case CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR:
    return check_resample(d, CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC,
                          CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC,
                          CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC);
  case CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR:
    return check_resample(d, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DESC,
                          CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DXDESC,
                          CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DYDESC);
  case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
    return check_norm(d, CUDNN_ATTR_OPERATION_NORM_FWD_XDESC,
                      CUDNN_ATTR_OPERATION_NORM_FWD_YDESC,
                      CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
                      CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC);
  case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
    return check_norm(d, CUDNN_ATTR_OPERATION_NORM_BWD_XDESC,
                      CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC,
                      CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC,
                      CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC);
  case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return check_graph(d);
  case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
    REQUIRE(d.values.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count ==
                d.values.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).count,
            "as many numbers as addresses are needed");
    return CUDNN_STATUS_SUCCESS;
  default: return CUDNN_STATUS_SUCCESS;
  }
}

} // namespace dnn
