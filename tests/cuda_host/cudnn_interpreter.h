// Computes operation graphs by plain loops, in f32 or, where an operand is
// f64, in f64. Each result is rounded to the type of its tensor.
#pragma once

#include "cudnn_stand_in.h"

namespace dnn {

using Dims = std::vector<int64_t>;

// Whether an operation writes what one of its attributes names.
bool is_result(const Descriptor &op, int name);
// Whether a tensor of the operations holds f64.
bool computes_doubles(const std::vector<Ref> &operations);

Dims row_major(const Dims &dims);

// The coordinates of every element, in row-major order.
class Coordinates {
public:
  explicit Coordinates(const Dims &dims) : dims(dims), at(dims.size(), 0) {}
  struct End {};
  Coordinates begin() const { return *this; }
  End end() const { return {}; }
  const Dims &operator*() const { return at; }
  bool operator!=(End) const { return left; }
  Coordinates &operator++();

private:
  const Dims &dims;
  Dims at;
  bool left = true;
};
inline Coordinates each(const Dims &dims) { return Coordinates(dims); }

// Offset of a coordinate in a tensor that repeats along its axes of extent 1;
// an extent that divides another stands for several neighbours.
int64_t repeated(const Dims &at, const Dims &full, const Dims &dims,
                 const Dims &strides);
// Three spatial values, the missing ones in front.
Dims three(Dims values, int64_t first);
Dims spatial(const Tensor &t);

template <typename T> class Interpreter {
public:
  Interpreter(const std::map<int64_t, void *> &memory, bool rounding)
      : memory(memory), rounding(rounding) {}

  void run(const Descriptor &op);
  // Whether the virtual tensors that it reads have been computed.
  bool ready(const Descriptor &op) const;

private:
  const std::map<int64_t, void *> &memory;
  bool rounding;
  std::map<int64_t, std::vector<T>> kept; // virtual tensors, row-major

  std::vector<T> load(const Tensor &t) const;
  void store(const Tensor &t, std::vector<T> values);
  static Tensor at(const Descriptor &op, int name) {
    return tensor_of(*op.ref(name));
  }
  int64_t whole(const Tensor &t) const;

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

// Makes a family of operations for both types.
#define FOR_BOTH_TYPES(operation)                                              \
  template void Interpreter<float>::operation(const Descriptor &);             \
  template void Interpreter<double>::operation(const Descriptor &);

} // namespace dnn
