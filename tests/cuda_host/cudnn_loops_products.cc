// Products of matrices, reductions, reshapes and random masks.
#include "cudnn_interpreter.h"

#include <cmath>
#include <limits>

namespace dnn {

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
  for (const Dims &at : each(batch)) {
    const T *pa = a.data() + repeated(at, batch, ad, as) * m * k;
    const T *pb = b.data() + repeated(at, batch, bd, bs) * k * n;
    T *pc = c.data() + int64_t(which++) * m * n;
    for (int64_t i = 0; i < m; i++)
      for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < n; j++)
          pc[i * n + j] += pa[i * k + l] * pb[l * n + j];
  }
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
  for (const Dims &c : each(tx.dims)) {
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
  }
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
  for (const Dims &c : each(tx.dims)) flat[offset(tx, c)] = x[i++];
  for (const Dims &c : each(ty.dims)) y.push_back(flat[offset(ty, c)]);
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

FOR_BOTH_TYPES(matmul)
FOR_BOTH_TYPES(reduction)
FOR_BOTH_TYPES(reshape)
FOR_BOTH_TYPES(rng)

} // namespace dnn
