// cuDNN's functions for recurrent networks: descriptors, sizes and calls, with
// strict checks of everything that a call is given.
#include "cudnn_rnn.h"

#include <cstring>

using dnn::refuse;
using rnn::Problem;

#define ENTER() HOST_ENTER("cudnn", cudnnStatus_t)
#define REFUSE(...) return refuse(CUDNN_STATUS_BAD_PARAM, __VA_ARGS__)
#define REQUIRE(condition, ...)                                                \
  if (!(condition)) REFUSE(__VA_ARGS__)

namespace {

constexpr const char *tensors = "cudnn tensor descriptor";
constexpr const char *dropouts = "cudnn dropout descriptor";
constexpr const char *networks = "cudnn rnn descriptor";
constexpr const char *sequences = "cudnn rnn data descriptor";

template <typename S> cudnnStatus_t make(const char *kind, S **made) {
  *made = new S;
  host::handle_made(kind, *made);
  return CUDNN_STATUS_SUCCESS;
}

template <typename S> cudnnStatus_t destroy(const char *kind, S *gone) {
  if (!host::handle_live(kind, gone)) return CUDNN_STATUS_BAD_PARAM;
  host::handle_gone(kind, gone);
  delete gone;
  return CUDNN_STATUS_SUCCESS;
}

size_t width_of(int type) {
  return type == CUDNN_DATA_DOUBLE ? 8 : type == CUDNN_DATA_FLOAT ? 4 : 2;
}

int64_t scratch_bytes(const Problem &p) {
  return 256 + int64_t(p.x.batch) * p.d.hidden * p.d.gates() * 4;
}

bool network_ready(cudnnHandle_t handle, cudnnRNNDescriptor_t d) {
  return host::handle_live("cudnn handle", handle) &&
         host::handle_live(networks, d) && d->set;
}

bool data_ready(cudnnRNNDataDescriptor_t d) {
  return host::handle_live(sequences, d) && d->set;
}

// Sizes of sequences of some width, in bytes.
size_t bytes_of(const cudnnRNNDataStruct &d) {
  return size_t(d.steps) * size_t(d.batch) * size_t(d.width) * width_of(d.type);
}

// What the three calls have in common.
struct Common {
  Problem p;
  size_t weight_bytes = 0, state_bytes = 0;
};

cudnnStatus_t check_common(cudnnHandle_t handle, cudnnRNNDescriptor_t d,
                           const int32_t *lengths, cudnnRNNDataDescriptor_t x,
                           cudnnRNNDataDescriptor_t y,
                           cudnnTensorDescriptor_t h, size_t weight_bytes,
                           size_t scratch, void *workspace, Common *out) {
  REQUIRE(network_ready(handle, d) && data_ready(x) && data_ready(y),
          "a descriptor is missing or was not set");
  REQUIRE(x->type == d->type && y->type == d->type,
          "sequences and network are of different types");
  REQUIRE(x->width == d->input, "inputs of width %d for a network of %d",
          x->width, d->input);
  REQUIRE(y->width == d->hidden * d->directions(),
          "outputs of width %d instead of %d", y->width,
          d->hidden * d->directions());
  REQUIRE(x->steps == y->steps && x->batch == y->batch &&
              x->layout == y->layout && x->lengths == y->lengths,
          "inputs and outputs describe different sequences");
  REQUIRE(x->layout != CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED,
          "packed sequences are not in this stand-in");
  REQUIRE(d->flags & CUDNN_RNN_PADDED_IO_ENABLED,
          "unpacked sequences need CUDNN_RNN_PADDED_IO_ENABLED");
  REQUIRE(host::handle_live(tensors, h), "no descriptor of states");
  std::vector<int> dims = {d->parts(), x->batch, d->hidden};
  std::vector<int> strides = {x->batch * d->hidden, d->hidden, 1};
  REQUIRE(h->type == d->type && h->dims == dims && h->strides == strides,
          "states are not [%d, %d, %d], row-major", dims[0], dims[1], dims[2]);
  out->p.d = *d;
  out->p.x = *x;
  out->p.lengths = lengths;
  int64_t elements = 0;
  rnn::layout_of(*d, &elements);
  out->weight_bytes = size_t(elements) * width_of(d->type);
  out->state_bytes = size_t(d->parts()) * size_t(x->batch) *
                     size_t(d->hidden) * width_of(d->type);
  REQUIRE(weight_bytes == out->weight_bytes, "%zu bytes of weights, not %zu",
          weight_bytes, out->weight_bytes);
  size_t needed = size_t(scratch_bytes(out->p));
  REQUIRE(scratch >= needed, "%zu bytes of scratch memory, %zu are needed",
          scratch, needed);
  REQUIRE(host::device_range(workspace, scratch, "scratch memory of an RNN"),
          "scratch memory is none of the device");
  REQUIRE(host::device_range(lengths, sizeof(int32_t) * size_t(x->batch),
                             "lengths of sequences"),
          "lengths are not on the device");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check_memory(const void *p, size_t bytes, bool needed,
                           const char *what) {
  if (p == nullptr) {
    REQUIRE(!needed, "%s is missing", what);
    return CUDNN_STATUS_SUCCESS;
  }
  REQUIRE(host::device_range(p, bytes, what), "%s is none of the device", what);
  return CUDNN_STATUS_SUCCESS;
}

#define CHECK(call)                                                            \
  if (cudnnStatus_t s_ = (call)) return s_

// Queues work after spoiling the scratch memory, on which nobody may rely.
template <typename Call>
void queue(cudnnHandle_t handle, const Call &call, void *workspace,
           size_t bytes) {
  if (host::instant()) return;
  host::enqueue(handle->stream, [call, workspace, bytes] {
    std::memset(workspace, 0xa5, bytes);
    rnn::run(call);
  });
}

} // namespace

extern "C" {

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *d) {
  ENTER();
  return make(tensors, d);
}
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t d) {
  ENTER();
  return destroy(tensors, d);
}
cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t d,
                                         cudnnDataType_t type, int count,
                                         const int dims[],
                                         const int strides[]) {
  ENTER();
  REQUIRE(host::handle_live(tensors, d), "no tensor descriptor");
  REQUIRE(count >= 3 && count <= 8, "%d dimensions: 3 to 8 are taken", count);
  d->type = type;
  d->dims.assign(dims, dims + count);
  d->strides.assign(strides, strides + count);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateDropoutDescriptor(cudnnDropoutDescriptor_t *d) {
  ENTER();
  return make(dropouts, d);
}
cudnnStatus_t cudnnDestroyDropoutDescriptor(cudnnDropoutDescriptor_t d) {
  ENTER();
  return destroy(dropouts, d);
}
cudnnStatus_t cudnnSetDropoutDescriptor(cudnnDropoutDescriptor_t d,
                                        cudnnHandle_t handle, float rate,
                                        void *states, size_t,
                                        unsigned long long) {
  ENTER();
  REQUIRE(host::handle_live(dropouts, d) &&
              host::handle_live("cudnn handle", handle),
          "no dropout descriptor or handle");
  REQUIRE(rate == 0 && states == nullptr,
          "dropout in networks is not in this stand-in");
  d->set = true;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateRNNDescriptor(cudnnRNNDescriptor_t *d) {
  ENTER();
  return make(networks, d);
}
cudnnStatus_t cudnnDestroyRNNDescriptor(cudnnRNNDescriptor_t d) {
  ENTER();
  return destroy(networks, d);
}
cudnnStatus_t cudnnSetRNNDescriptor_v8(
    cudnnRNNDescriptor_t d, cudnnRNNAlgo_t algorithm, cudnnRNNMode_t mode,
    cudnnRNNBiasMode_t bias, cudnnDirectionMode_t direction,
    cudnnRNNInputMode_t input, cudnnDataType_t type, cudnnDataType_t compute,
    cudnnMathType_t math, int32_t input_size, int32_t hidden, int32_t projected,
    int32_t layers, cudnnDropoutDescriptor_t dropout, uint32_t flags) {
  ENTER();
  REQUIRE(host::handle_live(networks, d), "no rnn descriptor");
  REQUIRE(host::handle_live(dropouts, dropout) && dropout->set,
          "the dropout descriptor was not set");
  REQUIRE(algorithm == CUDNN_RNN_ALGO_STANDARD && input == CUDNN_LINEAR_INPUT,
          "only the standard algorithm and linear inputs are in this stand-in");
  REQUIRE(bias == CUDNN_RNN_NO_BIAS || bias == CUDNN_RNN_DOUBLE_BIAS,
          "one bias is not in this stand-in");
  REQUIRE(input_size > 0 && hidden > 0 && layers > 0 && projected == hidden,
          "sizes %d, %d, %d, %d", input_size, hidden, projected, layers);
  // What the library supports: halves compute in single precision, the rest in its own.
  bool half = type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16;
  int wanted = half ? CUDNN_DATA_FLOAT : type;
  if ((!half && type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_DOUBLE) ||
      compute != wanted || math > CUDNN_FMA_MATH)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "types %d and %d", type, compute);
  d->set = true;
  d->mode = mode;
  d->bias = bias;
  d->direction = direction;
  d->type = type;
  d->input = input_size;
  d->hidden = hidden;
  d->layers = layers;
  d->flags = flags;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateRNNDataDescriptor(cudnnRNNDataDescriptor_t *d) {
  ENTER();
  return make(sequences, d);
}
cudnnStatus_t cudnnDestroyRNNDataDescriptor(cudnnRNNDataDescriptor_t d) {
  ENTER();
  return destroy(sequences, d);
}
cudnnStatus_t cudnnSetRNNDataDescriptor(cudnnRNNDataDescriptor_t d,
                                        cudnnDataType_t type,
                                        cudnnRNNDataLayout_t layout, int steps,
                                        int batch, int width,
                                        const int lengths[], void *padding) {
  ENTER();
  REQUIRE(host::handle_live(sequences, d), "no rnn data descriptor");
  REQUIRE(steps > 0 && batch > 0 && width > 0, "extents %d, %d, %d", steps,
          batch, width);
  for (int b = 0; b < batch; b++)
    REQUIRE(lengths[b] >= 0 && lengths[b] <= steps,
            "sequence %d has %d of %d steps", b, lengths[b], steps);
  d->set = true;
  d->type = type;
  d->layout = layout;
  d->steps = steps;
  d->batch = batch;
  d->width = width;
  d->lengths.assign(lengths, lengths + batch);
  d->pads = padding != nullptr;
  if (padding) {
    // The same bits are zero in every type; nothing else is asked for.
    for (size_t i = 0; i < width_of(type); i++)
      REQUIRE(static_cast<char *>(padding)[i] == 0,
              "padding other than zero is not in this stand-in");
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNTempSpaceSizes(cudnnHandle_t handle,
                                        cudnnRNNDescriptor_t d,
                                        cudnnForwardMode_t mode,
                                        cudnnRNNDataDescriptor_t x,
                                        size_t *scratch, size_t *reserve) {
  ENTER();
  REQUIRE(network_ready(handle, d) && data_ready(x),
          "a descriptor is missing or was not set");
  Problem p;
  p.d = *d;
  p.x = *x;
  if (scratch) *scratch = size_t(scratch_bytes(p));
  if (reserve)
    *reserve = mode == CUDNN_FWD_MODE_TRAINING ? size_t(p.reserve_bytes()) : 0;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNWeightSpaceSize(cudnnHandle_t handle,
                                         cudnnRNNDescriptor_t d,
                                         size_t *bytes) {
  ENTER();
  REQUIRE(network_ready(handle, d), "a descriptor is missing or was not set");
  int64_t elements = 0;
  rnn::layout_of(*d, &elements);
  *bytes = size_t(elements) * width_of(d->type);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNWeightParams(
    cudnnHandle_t handle, cudnnRNNDescriptor_t d, int32_t part, size_t bytes,
    const void *weights, int32_t which, cudnnTensorDescriptor_t m,
    void **matrix, cudnnTensorDescriptor_t b, void **bias) {
  ENTER();
  REQUIRE(network_ready(handle, d), "a descriptor is missing or was not set");
  int64_t elements = 0;
  std::vector<rnn::Weights> all = rnn::layout_of(*d, &elements);
  REQUIRE(part >= 0 && part < d->parts() && which >= 0 &&
              which < 2 * d->gates(),
          "product %d of part %d", which, part);
  REQUIRE(bytes == size_t(elements) * width_of(d->type), "%zu bytes of weights",
          bytes);
  REQUIRE(host::handle_live(tensors, m) && host::handle_live(tensors, b),
          "no tensor descriptors");
  bool recurrent = which >= d->gates();
  int gate = which % d->gates();
  const rnn::Weights &w = all[size_t(part)];
  int columns = recurrent ? d->hidden : d->width(part);
  int64_t at = (recurrent ? w.recurrent : w.input) +
               int64_t(gate) * d->hidden * columns;
  int64_t bias_at =
      (recurrent ? w.recurrent_bias : w.input_bias) + int64_t(gate) * d->hidden;
  auto address = [&](int64_t element) {
    return static_cast<char *>(const_cast<void *>(weights)) +
           size_t(element) * width_of(d->type);
  };
  *matrix = address(at);
  *bias = d->biased() ? address(bias_at) : nullptr;
  *m = {d->type, {1, d->hidden, columns}, {d->hidden * columns, columns, 1}};
  *b = {d->type, {1, d->hidden, 1}, {d->hidden, 1, 1}};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRNNForward(
    cudnnHandle_t handle, cudnnRNNDescriptor_t d, cudnnForwardMode_t mode,
    const int32_t lengths[], cudnnRNNDataDescriptor_t xd, const void *x,
    cudnnRNNDataDescriptor_t yd, void *y, cudnnTensorDescriptor_t hd,
    const void *hx, void *hy, cudnnTensorDescriptor_t, const void *cx,
    void *cy, size_t weight_bytes, const void *weights, size_t scratch,
    void *workspace, size_t reserve_bytes, void *reserve) {
  ENTER();
  Common c;
  CHECK(check_common(handle, d, lengths, xd, yd, hd, weight_bytes, scratch,
                     workspace, &c));
  CHECK(check_memory(x, bytes_of(*xd), true, "input of an RNN"));
  CHECK(check_memory(y, bytes_of(*yd), true, "output of an RNN"));
  CHECK(check_memory(hx, c.state_bytes, false, "first states"));
  CHECK(check_memory(hy, c.state_bytes, false, "last states"));
  CHECK(check_memory(cx, c.state_bytes, false, "first cells"));
  CHECK(check_memory(cy, c.state_bytes, false, "last cells"));
  CHECK(check_memory(weights, c.weight_bytes, true, "weights of an RNN"));
  bool training = mode == CUDNN_FWD_MODE_TRAINING;
  if (training) {
    REQUIRE(reserve_bytes >= size_t(c.p.reserve_bytes()),
            "%zu bytes of reserve space", reserve_bytes);
    CHECK(check_memory(reserve, reserve_bytes, true, "reserve space"));
  }
  rnn::Forward call;
  call.p = c.p;
  call.x = x, call.hx = hx, call.cx = cx, call.weights = weights;
  call.y = y, call.hy = hy, call.cy = cy;
  call.reserve = training ? reserve : nullptr;
  queue(handle, call, workspace, scratch);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRNNBackwardData_v8(
    cudnnHandle_t handle, cudnnRNNDescriptor_t d, const int32_t lengths[],
    cudnnRNNDataDescriptor_t yd, const void *y, const void *dy,
    cudnnRNNDataDescriptor_t xd, void *dx, cudnnTensorDescriptor_t hd,
    const void *hx, const void *dhy, void *dhx, cudnnTensorDescriptor_t,
    const void *cx, const void *dcy, void *dcx, size_t weight_bytes,
    const void *weights, size_t scratch, void *workspace, size_t reserve_bytes,
    void *reserve) {
  ENTER();
  Common c;
  CHECK(check_common(handle, d, lengths, xd, yd, hd, weight_bytes, scratch,
                     workspace, &c));
  CHECK(check_memory(y, bytes_of(*yd), true, "output of an RNN"));
  CHECK(check_memory(dy, bytes_of(*yd), true, "gradient of the output"));
  CHECK(check_memory(dx, bytes_of(*xd), true, "gradient of the input"));
  CHECK(check_memory(hx, c.state_bytes, false, "first states"));
  CHECK(check_memory(dhy, c.state_bytes, false, "gradient of last states"));
  CHECK(check_memory(dhx, c.state_bytes, false, "gradient of first states"));
  CHECK(check_memory(cx, c.state_bytes, false, "first cells"));
  CHECK(check_memory(dcy, c.state_bytes, false, "gradient of last cells"));
  CHECK(check_memory(dcx, c.state_bytes, false, "gradient of first cells"));
  CHECK(check_memory(weights, c.weight_bytes, true, "weights of an RNN"));
  REQUIRE(reserve_bytes >= size_t(c.p.reserve_bytes()),
          "%zu bytes of reserve space", reserve_bytes);
  CHECK(check_memory(reserve, reserve_bytes, true, "reserve space"));
  rnn::BackwardData call;
  call.p = c.p;
  call.dy = dy, call.hx = hx, call.dhy = dhy, call.cx = cx, call.dcy = dcy;
  call.weights = weights;
  call.dx = dx, call.dhx = dhx, call.dcx = dcx, call.reserve = reserve;
  queue(handle, call, workspace, scratch);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRNNBackwardWeights_v8(
    cudnnHandle_t handle, cudnnRNNDescriptor_t d, cudnnWgradMode_t mode,
    const int32_t lengths[], cudnnRNNDataDescriptor_t xd, const void *x,
    cudnnTensorDescriptor_t hd, const void *hx, cudnnRNNDataDescriptor_t yd,
    const void *y, size_t weight_bytes, void *dweights, size_t scratch,
    void *workspace, size_t reserve_bytes, void *reserve) {
  ENTER();
  Common c;
  CHECK(check_common(handle, d, lengths, xd, yd, hd, weight_bytes, scratch,
                     workspace, &c));
  if (mode != CUDNN_WGRAD_MODE_ADD)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "gradients can only be added");
  CHECK(check_memory(x, bytes_of(*xd), true, "input of an RNN"));
  CHECK(check_memory(hx, c.state_bytes, false, "first states"));
  CHECK(check_memory(y, bytes_of(*yd), true, "output of an RNN"));
  CHECK(check_memory(dweights, c.weight_bytes, true, "gradient of weights"));
  REQUIRE(reserve_bytes >= size_t(c.p.reserve_bytes()),
          "%zu bytes of reserve space", reserve_bytes);
  CHECK(check_memory(reserve, reserve_bytes, true, "reserve space"));
  rnn::BackwardWeights call;
  call.p = c.p;
  call.x = x, call.hx = hx, call.dweights = dweights, call.reserve = reserve;
  queue(handle, call, workspace, scratch);
  return CUDNN_STATUS_SUCCESS;
}

} // extern "C"
