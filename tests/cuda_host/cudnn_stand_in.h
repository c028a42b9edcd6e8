// Descriptors of the cuDNN stand-in, and what its parts share.
#pragma once

#include <cudnn.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host.h"

// What a handle is: the stream of its calls.
struct cudnnContext {
  void *stream = nullptr;
};

namespace dnn {

struct Descriptor;
using Ref = std::shared_ptr<Descriptor>;

// Values of one attribute: bytes, or other descriptors.
struct Values {
  int type = 0;
  int64_t count = 0;
  std::vector<uint8_t> bytes;
  std::vector<Ref> refs;
};

// An engine that the heuristics propose.
struct Engine {
  int64_t index = 0;
  std::vector<int> notes;
  int64_t workspace = 0;
};

struct Descriptor {
  int kind = 0;
  bool finalized = false;
  std::map<int, Values> values;
  // Of engines, their configurations and plans: what is to be run, and how.
  Engine engine;
  std::vector<Ref> operations;

  bool has(int name) const { return values.count(name) > 0; }
  Ref ref(int name) const {
    auto it = values.find(name);
    return it == values.end() || it->second.refs.empty() ? nullptr
                                                         : it->second.refs[0];
  }
  // Numbers of an attribute as doubles; fractions as quotients.
  std::vector<double> reals(int name) const;
  std::vector<int64_t> ints(int name) const;
  double real(int name, double otherwise) const;
  int64_t integer(int name, int64_t otherwise) const;
};

// Keeps the words for cudnnGetLastErrorString; returns the status.
cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Type, number of values and need of an attribute of a kind.
struct Rule {
  int kind, name;
  int type, other; // other: a second type that is taken, or -1
  int64_t least, most;
  bool required;
};
const Rule *rule_of(int kind, int name);
const std::vector<Rule> &rules();
const char *kind_name(int kind);
size_t size_of_type(int type);
size_t size_of_data(int data_type);

// Looks for what a descriptor lacks and for values that do not go together.
cudnnStatus_t check(const Descriptor &d);

// A tensor as the interpreter reads it.
struct Tensor {
  int64_t uid = 0;
  int type = 0;
  std::vector<int64_t> dims, strides;
  int64_t alignment = 1;
  bool is_virtual = false, by_value = false;
  int64_t size() const;
  int64_t span() const; // elements from the first to the last, inclusive
};
Tensor tensor_of(const Descriptor &d);

// Engines for the operations of a graph, best first; none when the graph is no pattern that is known.
std::vector<Engine> engines_for(const std::vector<Ref> &operations);

// Runs operations over memory: an address per uid. `rounding` cuts operands to TF32.
void interpret(const std::vector<Ref> &operations,
               const std::map<int64_t, void *> &memory, bool rounding);
// All tensors of the operations that are not virtual.
std::vector<Tensor> bound_tensors(const std::vector<Ref> &operations);
// Whether an operation writes the tensor.
bool written(const std::vector<Ref> &operations, int64_t uid);

// A plan as text, and a plan from the text that was set as its attribute.
std::string plan_text(const Descriptor &plan);
cudnnStatus_t read_plan(Descriptor &plan);

} // namespace dnn
