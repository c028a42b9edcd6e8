// Convolutions, and their gradients by data and by filters.
#include "cudnn_interpreter.h"

namespace dnn {

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
      for (T &v : values) v = T(host::float_to_tf32(float(v)));
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

#define CONVOLUTION(T)                                                         \
  template void Interpreter<T>::convolution(const Descriptor &, int, int, int, \
                                            int, int, int, int);
CONVOLUTION(float)
CONVOLUTION(double)

} // namespace dnn
