// Normalisations over batches, instances and layers, and their gradients.
#include "cudnn_interpreter.h"

#include <cmath>

namespace dnn {

namespace {

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

} // namespace

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
    for (const Dims &c : each(tx.dims)) mean[row(c)] += x[i++] / count;
  i = 0;
  for (const Dims &c : each(tx.dims)) {
    T d = x[i++] - mean[row(c)];
    var[row(c)] += d * d / count;
  }
  std::vector<T> inverse(var.size());
  for (size_t r = 0; r < var.size(); r++)
    inverse[r] = 1 / std::sqrt(var[r] + eps);
  std::vector<T> y(x.size());
  i = 0;
  for (const Dims &c : each(tx.dims)) {
    size_t r = row(c), s = size_t(repeated(c, tx.dims, ts.dims, ss));
    y[i] = (x[i] - mean[r]) * inverse[r] * scale[s] +
           (bias.empty() ? T(0) : bias[s]);
    i++;
  }
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
    for (const Dims &c : each(tx.dims)) {
      size_t r = size_t(repeated(c, tx.dims, rows, rs)),
             s = size_t(repeated(c, tx.dims, ts.dims, ss));
      f(i, r, s, (x[i] - mean[r]) * inverse[r]);
      i++;
    }
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

FOR_BOTH_TYPES(norm)
FOR_BOTH_TYPES(norm_gradient)

} // namespace dnn
