// Recurrent networks of the cuDNN stand-in: what their descriptors say, and
// how weights and the reserve space are laid out.
#pragma once

#include "cudnn_stand_in.h"

#include <vector>

struct cudnnTensorStruct {
  int type = -1;
  std::vector<int> dims, strides;
};

struct cudnnDropoutStruct {
  bool set = false;
  float rate = 0;
};

struct cudnnRNNStruct {
  bool set = false;
  int mode = 0, bias = 0, direction = 0, type = 0;
  int input = 0, hidden = 0, layers = 0;
  uint32_t flags = 0;

  int gates() const {
    return mode == CUDNN_LSTM ? 4 : mode == CUDNN_GRU ? 3 : 1;
  }
  int directions() const { return direction == CUDNN_BIDIRECTIONAL ? 2 : 1; }
  // Layers times directions.
  int parts() const { return layers * directions(); }
  // Width of what a layer reads.
  int width(int part) const {
    return part < directions() ? input : hidden * directions();
  }
  bool biased() const { return bias != CUDNN_RNN_NO_BIAS; }
};

struct cudnnRNNDataStruct {
  bool set = false;
  int type = 0, layout = 0, steps = 0, batch = 0, width = 0;
  std::vector<int> lengths;
  double padding = 0;
  bool pads = false;
};

namespace rnn {

// Where the weights of a part lie, in elements.
struct Weights {
  int64_t input, recurrent, input_bias, recurrent_bias;
};
// All parts, and the number of elements.
std::vector<Weights> layout_of(const cudnnRNNStruct &d, int64_t *elements);

// One call: copies of what the descriptors said, and addresses.
struct Problem {
  cudnnRNNStruct d;
  cudnnRNNDataStruct x;
  const int32_t *lengths = nullptr;

  // Elements of the reserve space for one step of one sequence in one part:
  // gates, cell or candidate, state, gradients of the gates from both sides.
  int64_t record() const { return int64_t(3 * d.gates() + 2) * d.hidden; }
  int64_t reserve_bytes() const;
};

struct Forward {
  Problem p;
  const void *x = nullptr, *hx = nullptr, *cx = nullptr, *weights = nullptr;
  void *y = nullptr, *hy = nullptr, *cy = nullptr, *reserve = nullptr;
};
struct BackwardData {
  Problem p;
  const void *dy = nullptr, *hx = nullptr, *dhy = nullptr, *cx = nullptr,
             *dcy = nullptr, *weights = nullptr;
  void *dx = nullptr, *dhx = nullptr, *dcx = nullptr, *reserve = nullptr;
};
struct BackwardWeights {
  Problem p;
  const void *x = nullptr, *hx = nullptr;
  void *dweights = nullptr, *reserve = nullptr;
};

void run(const Forward &call);
void run(const BackwardData &call);
void run(const BackwardWeights &call);

} // namespace rnn
