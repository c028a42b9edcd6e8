// Recurrent networks by plain loops: forward, gradients of the data, gradients
// of the weights. What the backward passes need, they read from the reserve
// space; without the forward pass's they refuse.
#include "cudnn_rnn.h"

#include <cmath>
#include <cstring>

namespace rnn {

namespace {

// What stands first in a reserve space, and says how far it has come.
enum : uint64_t { after_forward = 0x6465636166726e31, after_data };
constexpr int64_t head_bytes = 16;

template <typename T> T read(const void *p, int type, int64_t i) {
  switch (type) {
  case CUDNN_DATA_DOUBLE: return T(static_cast<const double *>(p)[i]);
  case CUDNN_DATA_HALF:
    return T(host::half_to_float(static_cast<const uint16_t *>(p)[i]));
  case CUDNN_DATA_BFLOAT16:
    return T(host::bf16_to_float(static_cast<const uint16_t *>(p)[i]));
  default: return T(static_cast<const float *>(p)[i]);
  }
}

template <typename T> void write(void *p, int type, int64_t i, T value) {
  switch (type) {
  case CUDNN_DATA_DOUBLE: static_cast<double *>(p)[i] = double(value); break;
  case CUDNN_DATA_HALF:
    static_cast<uint16_t *>(p)[i] = host::float_to_half(float(value));
    break;
  case CUDNN_DATA_BFLOAT16:
    static_cast<uint16_t *>(p)[i] = host::float_to_bf16(float(value));
    break;
  default: static_cast<float *>(p)[i] = float(value);
  }
}

template <typename T> T sigmoid(T x) { return 1 / (1 + std::exp(-x)); }

// One problem with its sizes at hand. T is the type of the computation.
template <typename T> struct Loops {
  const Problem &p;
  const cudnnRNNStruct &d;
  const int type, gates, hidden, directions, steps, batch;
  const std::vector<Weights> where;
  T *const records;
  uint64_t *const stage;

  Loops(const Problem &problem, void *reserve)
      : p(problem), d(problem.d), type(d.type), gates(d.gates()),
        hidden(d.hidden), directions(d.directions()), steps(p.x.steps),
        batch(p.x.batch), where(layout_of(d, nullptr)),
        records(reinterpret_cast<T *>(static_cast<char *>(reserve) +
                                      head_bytes)),
        stage(static_cast<uint64_t *>(reserve)) {
    for (int b = 0; b < batch; b++)
      if (p.lengths[b] != p.x.lengths[b])
        host::violation("cudnn: sequence %d has %d steps on the device and %d "
                        "in the descriptor",
                        b, p.lengths[b], p.x.lengths[b]);
  }

  // Position of a vector in an input or output of some width.
  int64_t at(int t, int b, int width) const {
    bool by_batch = p.x.layout == CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED;
    return (by_batch ? int64_t(b) * steps + t : int64_t(t) * batch + b) * width;
  }
  T *record(int part, int t, int b) const {
    return records + ((int64_t(part) * steps + t) * batch + b) * p.record();
  }
  T *cell(T *r) const { return r + gates * hidden; }
  T *state(T *r) const { return r + (gates + 1) * hidden; }
  T *input_gates(T *r) const { return r + (gates + 2) * hidden; }
  T *recurrent_gates(T *r) const { return r + (2 * gates + 2) * hidden; }

  // Steps of a sequence in the order of a direction; n counts them.
  int step(int part, int b, int n) const {
    int length = p.x.lengths[b];
    return part % directions == 1 ? length - 1 - n : n;
  }
  // The n-th input vector of a layer: of the network, or the states below.
  std::vector<T> input(int part, const void *x, int t, int b) const {
    int width = d.width(part);
    std::vector<T> v(static_cast<size_t>(width));
    if (part < directions) {
      for (int i = 0; i < width; i++)
        v[size_t(i)] = read<T>(x, type, at(t, b, width) + i);
      return v;
    }
    int below = (part / directions - 1) * directions;
    for (int k = 0; k < directions; k++)
      // States of lower layers are rounded to the storage type.
      std::memcpy(v.data() + k * hidden, state(record(below + k, t, b)),
                  sizeof(T) * size_t(hidden));
    return v;
  }
  // State or cell before the n-th step.
  T before(bool cells, int part, int b, int n, int j, const void *first) const {
    if (n > 0) {
      T *r = record(part, step(part, b, n - 1), b);
      return cells ? cell(r)[j] : state(r)[j];
    }
    return first == nullptr
               ? T(0)
               : read<T>(first, type,
                         (int64_t(part) * batch + b) * hidden + j);
  }
  T weight(const void *w, int64_t i) const { return read<T>(w, type, i); }
  T rounded(T v) const {
    double whole;
    write<T>(&whole, type, 0, v);
    return read<T>(&whole, type, 0);
  }

  void forward(const Forward &call) {
    for (int part = 0; part < d.parts(); part++)
      for (int b = 0; b < batch; b++) {
        for (int n = 0; n < p.x.lengths[size_t(b)]; n++)
          forward_step(call, part, b, n);
        finish(call, part, b);
      }
    for (int b = 0; b < batch; b++)
      for (int t = 0; t < steps; t++) outputs(call, t, b);
    *stage = after_forward;
  }

  void forward_step(const Forward &call, int part, int b, int n) {
    int t = step(part, b, n);
    const Weights &w = where[size_t(part)];
    std::vector<T> in = input(part, call.x, t, b);
    T *r = record(part, t, b);
    std::vector<T> sum(size_t(gates * hidden)), own(size_t(gates * hidden));
    for (int g = 0; g < gates * hidden; g++) {
      T a = 0, c = 0;
      int width = int(in.size());
      for (int i = 0; i < width; i++)
        a += weight(call.weights, w.input + int64_t(g) * width + i) * in[size_t(i)];
      for (int j = 0; j < hidden; j++)
        c += weight(call.weights, w.recurrent + int64_t(g) * hidden + j) *
             before(false, part, b, n, j, call.hx);
      if (d.biased()) {
        a += weight(call.weights, w.input_bias + g);
        c += weight(call.weights, w.recurrent_bias + g);
      }
      sum[size_t(g)] = a;
      own[size_t(g)] = c;
    }
    for (int j = 0; j < hidden; j++) {
      auto both = [&](int g) {
        return sum[size_t(g * hidden + j)] + own[size_t(g * hidden + j)];
      };
      T h;
      if (d.mode == CUDNN_LSTM) {
        T i = sigmoid(both(0)), f = sigmoid(both(1)), g = std::tanh(both(2)),
          o = sigmoid(both(3));
        T c = f * before(true, part, b, n, j, call.cx) + i * g;
        r[j] = i, r[hidden + j] = f, r[2 * hidden + j] = g,
        r[3 * hidden + j] = o;
        cell(r)[j] = c;
        h = o * std::tanh(c);
      } else if (d.mode == CUDNN_GRU) {
        T reset = sigmoid(both(0)), keep = sigmoid(both(1));
        T candidate = own[size_t(2 * hidden + j)];
        T fresh = std::tanh(sum[size_t(2 * hidden + j)] + reset * candidate);
        r[j] = reset, r[hidden + j] = keep, r[2 * hidden + j] = fresh;
        cell(r)[j] = candidate;
        h = (1 - keep) * fresh + keep * before(false, part, b, n, j, call.hx);
      } else {
        h = d.mode == CUDNN_RNN_TANH ? std::tanh(both(0))
                                     : std::max<T>(both(0), 0);
        r[j] = h;
      }
      state(r)[j] = rounded(h);
    }
  }

  void finish(const Forward &call, int part, int b) {
    int last = p.x.lengths[size_t(b)];
    for (int j = 0; j < hidden; j++) {
      int64_t i = (int64_t(part) * batch + b) * hidden + j;
      if (call.hy) write(call.hy, type, i, before(false, part, b, last, j, call.hx));
      if (call.cy && d.mode == CUDNN_LSTM)
        write(call.cy, type, i, before(true, part, b, last, j, call.cx));
    }
  }

  void outputs(const Forward &call, int t, int b) {
    int width = hidden * directions, top = d.parts() - directions;
    for (int i = 0; i < width; i++) {
      int64_t o = at(t, b, width) + i;
      if (t >= p.x.lengths[size_t(b)]) {
        if (p.x.pads) write(call.y, type, o, T(p.x.padding));
      } else
        write(call.y, type, o,
              state(record(top + i / hidden, t, b))[i % hidden]);
    }
  }

  void backward(const BackwardData &call) {
    if (*stage != after_forward && *stage != after_data) {
      host::violation("cudnn: the reserve space of a backward pass is not one "
                      "that a forward pass in training mode has filled");
      return;
    }
    int wide = hidden * directions;
    // Gradients of what the layer above read, [steps, batch, width].
    std::vector<T> above(size_t(steps) * size_t(batch) * size_t(wide));
    for (int t = 0; t < steps; t++)
      for (int b = 0; b < batch; b++)
        for (int i = 0; i < wide; i++)
          if (t < p.x.lengths[size_t(b)])
            above[size_t((t * batch + b) * wide + i)] =
                read<T>(call.dy, type, at(t, b, wide) + i);
    for (int layer = d.layers - 1; layer >= 0; layer--) {
      int width = d.width(layer * directions);
      std::vector<T> below(size_t(steps) * size_t(batch) * size_t(width));
      for (int k = 0; k < directions; k++)
        for (int b = 0; b < batch; b++)
          backward_sequence(call, layer * directions + k, b, above, below);
      above.swap(below);
    }
    for (int t = 0; t < steps; t++)
      for (int b = 0; b < batch; b++)
        for (int i = 0; i < d.input; i++)
          if (t < p.x.lengths[size_t(b)] && call.dx)
            write(call.dx, type, at(t, b, d.input) + i,
                  above[size_t((t * batch + b) * d.input + i)]);
    *stage = after_data;
  }

  void backward_sequence(const BackwardData &call, int part, int b,
                         const std::vector<T> &above, std::vector<T> &below) {
    const Weights &w = where[size_t(part)];
    int width = d.width(part), wide = hidden * directions;
    auto first = [&](const void *g, int j) {
      return g == nullptr
                 ? T(0)
                 : read<T>(g, type, (int64_t(part) * batch + b) * hidden + j);
    };
    std::vector<T> dh(static_cast<size_t>(hidden)), dc(static_cast<size_t>(hidden));
    for (int j = 0; j < hidden; j++) {
      dh[size_t(j)] = first(call.dhy, j);
      dc[size_t(j)] = first(call.dcy, j);
    }
    for (int n = p.x.lengths[size_t(b)] - 1; n >= 0; n--) {
      int t = step(part, b, n);
      T *r = record(part, t, b), *dx = input_gates(r), *dr = recurrent_gates(r);
      std::vector<T> direct(static_cast<size_t>(hidden));
      for (int j = 0; j < hidden; j++) {
        T g = dh[size_t(j)] +
              above[size_t((t * batch + b) * wide + part % directions * hidden +
                           j)];
        direct[size_t(j)] = gate_gradients(call, part, b, n, j, g, dc[size_t(j)], r);
      }
      for (int i = 0; i < width; i++) {
        T sum = 0;
        for (int g = 0; g < gates * hidden; g++)
          sum += dx[g] * weight(call.weights, w.input + int64_t(g) * width + i);
        below[size_t((t * batch + b) * width + i)] += sum;
      }
      for (int j = 0; j < hidden; j++) {
        T sum = direct[size_t(j)];
        for (int g = 0; g < gates * hidden; g++)
          sum += dr[g] *
                 weight(call.weights, w.recurrent + int64_t(g) * hidden + j);
        dh[size_t(j)] = sum;
      }
    }
    for (int j = 0; j < hidden; j++) {
      int64_t i = (int64_t(part) * batch + b) * hidden + j;
      if (call.dhx) write(call.dhx, type, i, dh[size_t(j)]);
      if (call.dcx && d.mode == CUDNN_LSTM) write(call.dcx, type, i, dc[size_t(j)]);
    }
  }

  // Gradients of one unit's gates; returns what reaches the state before by
  // itself, and turns the gradient of the cell into that of the cell before.
  T gate_gradients(const BackwardData &call, int part, int b, int n, int j, T g,
                   T &dc, T *r) {
    T *dx = input_gates(r), *dr = recurrent_gates(r);
    auto put = [&](int gate, T v) { dx[gate * hidden + j] = dr[gate * hidden + j] = v; };
    if (d.mode == CUDNN_LSTM) {
      T i = r[j], f = r[hidden + j], m = r[2 * hidden + j], o = r[3 * hidden + j];
      T c = std::tanh(cell(r)[j]);
      T all = dc + g * o * (1 - c * c);
      put(0, all * m * i * (1 - i));
      put(1, all * before(true, part, b, n, j, call.cx) * f * (1 - f));
      put(2, all * i * (1 - m * m));
      put(3, g * c * o * (1 - o));
      dc = all * f;
      return 0;
    }
    if (d.mode == CUDNN_GRU) {
      T reset = r[j], keep = r[hidden + j], fresh = r[2 * hidden + j];
      T h = before(false, part, b, n, j, call.hx);
      T df = g * (1 - keep) * (1 - fresh * fresh);
      put(0, df * cell(r)[j] * reset * (1 - reset));
      put(1, g * (h - fresh) * keep * (1 - keep));
      dx[2 * hidden + j] = df;
      dr[2 * hidden + j] = df * reset;
      return g * keep;
    }
    T h = r[j];
    put(0, d.mode == CUDNN_RNN_TANH ? g * (1 - h * h) : h > 0 ? g : T(0));
    return 0;
  }

  void weights(const BackwardWeights &call) {
    if (*stage != after_data) {
      host::violation("cudnn: gradients of weights were asked for before those "
                      "of the data");
      return;
    }
    auto add = [&](int64_t i, T v) {
      write(call.dweights, type, i, weight(call.dweights, i) + v);
    };
    for (int part = 0; part < d.parts(); part++) {
      const Weights &w = where[size_t(part)];
      int width = d.width(part), rows = gates * hidden;
      std::vector<T> in(size_t(rows * width)), own(size_t(rows * hidden)),
          bi(static_cast<size_t>(rows)), br(static_cast<size_t>(rows));
      for (int b = 0; b < batch; b++)
        for (int n = 0; n < p.x.lengths[size_t(b)]; n++) {
          int t = step(part, b, n);
          T *r = record(part, t, b), *dx = input_gates(r), *dr = recurrent_gates(r);
          std::vector<T> v = input(part, call.x, t, b);
          for (int g = 0; g < rows; g++) {
            for (int i = 0; i < width; i++)
              in[size_t(g * width + i)] += dx[g] * v[size_t(i)];
            for (int j = 0; j < hidden; j++)
              own[size_t(g * hidden + j)] += dr[g] * before(false, part, b, n, j, call.hx);
            bi[size_t(g)] += dx[g];
            br[size_t(g)] += dr[g];
          }
        }
      for (size_t i = 0; i < in.size(); i++) add(w.input + int64_t(i), in[i]);
      for (size_t i = 0; i < own.size(); i++) add(w.recurrent + int64_t(i), own[i]);
      if (!d.biased()) continue;
      for (int g = 0; g < rows; g++) {
        add(w.input_bias + g, bi[size_t(g)]);
        add(w.recurrent_bias + g, br[size_t(g)]);
      }
    }
  }
};

} // namespace

int64_t Problem::reserve_bytes() const {
  int64_t width = d.type == CUDNN_DATA_DOUBLE ? 8 : 4;
  return head_bytes + int64_t(d.parts()) * x.steps * x.batch * record() * width;
}

// Matrices of all parts, then biases; each starts at a multiple of 16 elements.
std::vector<Weights> layout_of(const cudnnRNNStruct &d, int64_t *elements) {
  int64_t next = 0;
  auto take = [&](int64_t n) {
    int64_t at = next;
    next = (next + n + 15) / 16 * 16;
    return at;
  };
  int64_t rows = int64_t(d.gates()) * d.hidden;
  std::vector<Weights> all(static_cast<size_t>(d.parts()));
  for (int part = 0; part < d.parts(); part++) {
    all[size_t(part)].input = take(rows * d.width(part));
    all[size_t(part)].recurrent = take(rows * d.hidden);
  }
  for (Weights &w : all) {
    w.input_bias = d.biased() ? take(rows) : -1;
    w.recurrent_bias = d.biased() ? take(rows) : -1;
  }
  if (elements) *elements = next;
  return all;
}

namespace {

// An inference needs a place for its records too.
template <typename Call, typename Run>
void with_loops(const Call &call, Run run) {
  std::vector<char> own;
  void *reserve = call.reserve;
  if (reserve == nullptr) {
    own.resize(size_t(call.p.reserve_bytes()));
    reserve = own.data();
  }
  if (call.p.d.type == CUDNN_DATA_DOUBLE) {
    Loops<double> loops(call.p, reserve);
    run(loops);
  } else {
    Loops<float> loops(call.p, reserve);
    run(loops);
  }
}

} // namespace

void run(const Forward &call) {
  with_loops(call, [&](auto &loops) { loops.forward(call); });
}
void run(const BackwardData &call) {
  with_loops(call, [&](auto &loops) { loops.backward(call); });
}
void run(const BackwardWeights &call) {
  with_loops(call, [&](auto &loops) { loops.weights(call); });
}

} // namespace rnn
