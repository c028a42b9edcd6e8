// Maxima and averages of windows, and their gradients.
#include "cudnn_interpreter.h"

#include <limits>

namespace dnn {

namespace {

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
      for (const Dims &o : each(out)) {
        for (const Dims &k : each(window)) {
          int64_t cell = 0;
          bool inside = true;
          for (size_t d = 0; d < 3; d++) {
            int64_t c = o[d] * stride[d] - before[d] + k[d];
            inside = inside && c >= 0 && c < in[d];
            cell = cell * in[d] + c;
          }
          f(i, inside ? p * in[0] * in[1] * in[2] + cell : -1);
        }
        i++;
      }
  }
  int64_t taps() const { return window[0] * window[1] * window[2]; }
};

} // namespace

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

FOR_BOTH_TYPES(resample)
FOR_BOTH_TYPES(resample_gradient)

} // namespace dnn
