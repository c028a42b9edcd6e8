// cuDNN's handles and backend API: descriptors with strict checks, heuristics
// that propose a few engines, plans that the interpreter runs on the stream.
#include "cudnn_stand_in.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>

using dnn::Descriptor;
using dnn::Ref;
using dnn::refuse;

#define ENTER() HOST_ENTER("cudnn", cudnnStatus_t)

namespace {

std::mutex registry_mutex;
std::map<void *, Ref> registry;
thread_local std::string last_words;
constexpr const char *kind_of_handle = "cudnn handle";
constexpr const char *kind_of_descriptor = "cudnn descriptor";
// What stands for every variant pack while calls compute nothing.
Descriptor instant_pack;

Ref find(void *descriptor) {
  if (!host::handle_live(kind_of_descriptor, descriptor)) return nullptr;
  std::lock_guard<std::mutex> lock(registry_mutex);
  auto it = registry.find(descriptor);
  return it == registry.end() ? nullptr : it->second;
}

} // namespace

cudnnStatus_t dnn::refuse(cudnnStatus_t status, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  last_words = text;
  // What the library would support and the caller got wrong is a fault of the caller.
  if (status / 1000 == 2) host::violation("cudnn: %s", text);
  return status;
}

extern "C" {

size_t cudnnGetVersion(void) {
  host::enter("cudnn", __func__);
  return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
#define NAME(s) case s: return #s
    NAME(CUDNN_STATUS_SUCCESS);
    NAME(CUDNN_STATUS_NOT_INITIALIZED);
    NAME(CUDNN_STATUS_BAD_PARAM);
    NAME(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
    NAME(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
    NAME(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
    NAME(CUDNN_STATUS_NOT_SUPPORTED);
    NAME(CUDNN_STATUS_INTERNAL_ERROR);
    NAME(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED);
    NAME(CUDNN_STATUS_EXECUTION_FAILED);
#undef NAME
  default: return "CUDNN_STATUS of another number";
  }
}

void cudnnGetLastErrorString(char *message, size_t size) {
  if (size > 0) snprintf(message, size, "%s", last_words.c_str());
  last_words.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  ENTER();
  *handle = new cudnnContext;
  host::handle_made(kind_of_handle, *handle);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  ENTER();
  if (!host::handle_live(kind_of_handle, handle)) return CUDNN_STATUS_BAD_PARAM;
  host::handle_gone(kind_of_handle, handle);
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  ENTER();
  if (!host::handle_live(kind_of_handle, handle)) return CUDNN_STATUS_BAD_PARAM;
  if (host::stream_device(stream) < 0) return CUDNN_STATUS_BAD_PARAM;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
  ENTER();
  if (!host::handle_live(kind_of_handle, handle)) return CUDNN_STATUS_BAD_PARAM;
  *stream = static_cast<cudaStream_t>(handle->stream);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                             cudnnBackendDescriptor_t *descriptor) {
  ENTER();
  if (host::instant() && type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR) {
    *descriptor = &instant_pack;
    return CUDNN_STATUS_SUCCESS;
  }
  if (dnn::kind_name(type) == nullptr)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "descriptors of type %d",
                  int(type));
  Ref made = std::make_shared<Descriptor>();
  made->kind = type;
  *descriptor = made.get();
  {
    std::lock_guard<std::mutex> lock(registry_mutex);
    registry[made.get()] = made;
  }
  host::handle_made(kind_of_descriptor, made.get());
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  ENTER();
  if (descriptor == &instant_pack) return CUDNN_STATUS_SUCCESS;
  if (!find(descriptor)) return CUDNN_STATUS_BAD_PARAM;
  host::handle_gone(kind_of_descriptor, descriptor);
  std::lock_guard<std::mutex> lock(registry_mutex);
  registry.erase(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type,
                                       int64_t count, const void *elements) {
  ENTER();
  if (descriptor == &instant_pack) return CUDNN_STATUS_SUCCESS;
  Ref d = find(descriptor);
  if (!d) return CUDNN_STATUS_BAD_PARAM;
  const char *kind = dnn::kind_name(d->kind);
  if (d->finalized)
    return refuse(CUDNN_STATUS_BAD_PARAM, "%s is finalized: attribute %d", kind,
                  int(name));
  const dnn::Rule *rule = dnn::rule_of(d->kind, name);
  if (!rule)
    return refuse(CUDNN_STATUS_BAD_PARAM, "%s has no attribute %d", kind,
                  int(name));
  if (type != rule->type && type != rule->other)
    return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE,
                  "%s: attribute %d is of type %d, not %d", kind, int(name),
                  rule->type, int(type));
  if (count < rule->least || count > rule->most || !elements)
    return refuse(CUDNN_STATUS_BAD_PARAM, "%s: attribute %d of %lld values",
                  kind, int(name), (long long)count);
  dnn::Values v;
  v.type = type;
  v.count = count;
  auto bytes = static_cast<const uint8_t *>(elements);
  v.bytes.assign(bytes, bytes + size_t(count) * dnn::size_of_type(type));
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
    for (int64_t i = 0; i < count; i++) {
      Ref to = find(static_cast<void *const *>(elements)[i]);
      if (!to) return CUDNN_STATUS_BAD_PARAM;
      if (!to->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                      "%s: attribute %d is a %s that is not finalized", kind,
                      int(name), dnn::kind_name(to->kind));
      v.refs.push_back(to);
    }
  if (type == CUDNN_TYPE_HANDLE) {
    void *handle = *static_cast<void *const *>(elements);
    if (!host::handle_live(kind_of_handle, handle))
      return CUDNN_STATUS_BAD_PARAM;
  }
  d->values[name] = std::move(v);
  return CUDNN_STATUS_SUCCESS;
}

} // extern "C"

namespace {

cudnnStatus_t finalize_plan(Descriptor &plan) {
  if (!plan.has(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) &&
      !plan.has(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP))
    return refuse(CUDNN_STATUS_BAD_PARAM, "a plan for no device");
  if (Ref config = plan.ref(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)) {
    plan.engine = config->engine;
    plan.operations = config->operations;
    return CUDNN_STATUS_SUCCESS;
  }
  if (!plan.has(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION))
    return refuse(CUDNN_STATUS_BAD_PARAM, "a plan of no engine");
  return dnn::read_plan(plan);
}

template <typename V>
cudnnStatus_t answer(const std::vector<V> &values, int64_t room, int64_t *count,
                     void *elements) {
  if (count) *count = int64_t(values.size());
  size_t n = std::min(values.size(), size_t(room));
  if (elements && n > 0) memcpy(elements, values.data(), n * sizeof(V));
  return CUDNN_STATUS_SUCCESS;
}

// Engines as one kind of heuristics proposes them.
std::vector<dnn::Engine> proposals(const Descriptor &heuristics) {
  Ref graph = heuristics.ref(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  auto engines =
      dnn::engines_for(graph->values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).refs);
  if (heuristics.integer(CUDNN_ATTR_ENGINEHEUR_MODE, 0) ==
          CUDNN_HEUR_MODE_FALLBACK &&
      engines.size() > 1)
    engines.erase(engines.begin(), engines.end() - 1);
  return engines;
}

cudnnStatus_t heuristics_results(const Descriptor &heuristics, int64_t room,
                                 int64_t *count, void *elements) {
  auto engines = proposals(heuristics);
  Ref graph = heuristics.ref(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  if (room == 0) {
    *count = int64_t(engines.size());
    return CUDNN_STATUS_SUCCESS;
  }
  int64_t n = 0;
  for (; n < room && n < int64_t(engines.size()); n++) {
    Ref config = find(static_cast<void **>(elements)[n]);
    if (!config || config->kind != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
      return refuse(CUDNN_STATUS_BAD_PARAM,
                    "results of heuristics go to engine configurations");
    config->engine = engines[size_t(n)];
    config->operations = graph->values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).refs;
    config->finalized = true;
  }
  *count = n;
  return CUDNN_STATUS_SUCCESS;
}

// The addresses of a pack, checked against the tensors of the plan.
cudnnStatus_t addresses(const Descriptor &plan, const Descriptor &pack,
                        int device, std::map<int64_t, void *> &memory) {
  auto uids = pack.ints(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  auto pointers =
      reinterpret_cast<void *const *>(
          pack.values.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).bytes.data());
  for (size_t i = 0; i < uids.size(); i++) memory[uids[i]] = pointers[i];
  for (const dnn::Tensor &t : dnn::bound_tensors(plan.operations)) {
    auto it = memory.find(t.uid);
    if (it == memory.end() || !it->second)
      return refuse(CUDNN_STATUS_BAD_PARAM, "tensor %lld has no address",
                    (long long)t.uid);
    if (t.by_value) {
      if (host::device_of(it->second) >= 0)
        return refuse(CUDNN_STATUS_BAD_PARAM,
                      "tensor %lld is by value, and its address on a device",
                      (long long)t.uid);
      continue;
    }
    if (reinterpret_cast<uintptr_t>(it->second) % uintptr_t(t.alignment) != 0)
      return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER,
                    "tensor %lld at %p is not aligned to %lld bytes",
                    (long long)t.uid, it->second, (long long)t.alignment);
    size_t bytes = size_t(t.span()) * dnn::size_of_data(t.type);
    if (!host::device_range(it->second, bytes, "a tensor of a cuDNN graph"))
      return CUDNN_STATUS_EXECUTION_FAILED;
    if (host::device_of(it->second) != device)
      return refuse(CUDNN_STATUS_BAD_PARAM,
                    "tensor %lld lies on device %d, the handle on %d",
                    (long long)t.uid, host::device_of(it->second), device);
  }
  return CUDNN_STATUS_SUCCESS;
}

} // namespace

extern "C" {

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  ENTER();
  if (descriptor == &instant_pack) return CUDNN_STATUS_SUCCESS;
  Ref d = find(descriptor);
  if (!d) return CUDNN_STATUS_BAD_PARAM;
  if (d->finalized)
    return refuse(CUDNN_STATUS_BAD_PARAM, "a %s is finalized twice",
                  dnn::kind_name(d->kind));
  cudnnStatus_t status = dnn::check(*d);
  if (status == CUDNN_STATUS_SUCCESS &&
      d->kind == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
    status = finalize_plan(*d);
  if (status == CUDNN_STATUS_SUCCESS &&
      d->kind == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && proposals(*d).empty())
    status = refuse(CUDNN_STATUS_NOT_SUPPORTED, "no engine takes the graph");
  d->finalized = status == CUDNN_STATUS_SUCCESS;
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type,
                                       int64_t room, int64_t *count,
                                       void *elements) {
  ENTER();
  Ref d = find(descriptor);
  if (!d) return CUDNN_STATUS_BAD_PARAM;
  if (!d->finalized)
    return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a %s is not finalized",
                  dnn::kind_name(d->kind));
  auto expects = [&](int wanted) { return int(type) == wanted; };
  switch (name) {
  case CUDNN_ATTR_ENGINEHEUR_RESULTS:
    if (!expects(CUDNN_TYPE_BACKEND_DESCRIPTOR)) break;
    return heuristics_results(*d, room, count, elements);
  case CUDNN_ATTR_ENGINECFG_ENGINE: {
    if (!expects(CUDNN_TYPE_BACKEND_DESCRIPTOR) || room < 1) break;
    Ref engine = find(*static_cast<void **>(elements));
    if (!engine) return CUDNN_STATUS_BAD_PARAM;
    engine->engine = d->engine;
    engine->operations = d->operations;
    engine->finalized = true;
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
  }
  case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
    if (!expects(CUDNN_TYPE_NUMERICAL_NOTE)) break;
    return answer(d->engine.notes, room, count, elements);
  case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
    if (!expects(CUDNN_TYPE_INT64)) break;
    return answer(std::vector<int64_t>{d->engine.index}, room, count, elements);
  case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
    if (!expects(CUDNN_TYPE_INT64)) break;
    return answer(std::vector<int64_t>{d->engine.workspace}, room, count,
                  elements);
  case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION: {
    if (!expects(CUDNN_TYPE_CHAR)) break;
    std::string text = dnn::plan_text(*d);
    std::vector<char> bytes(text.begin(), text.end());
    bytes.push_back(0);
    return answer(bytes, room, count, elements);
  }
  default:
    return refuse(CUDNN_STATUS_BAD_PARAM, "%s: attribute %d cannot be read",
                  dnn::kind_name(d->kind), int(name));
  }
  return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE,
                "%s: attribute %d is not of type %d", dnn::kind_name(d->kind),
                int(name), int(type));
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle,
                                  cudnnBackendDescriptor_t plan_,
                                  cudnnBackendDescriptor_t pack_) {
  ENTER();
  if (host::instant()) return CUDNN_STATUS_SUCCESS;
  if (!host::handle_live(kind_of_handle, handle)) return CUDNN_STATUS_BAD_PARAM;
  Ref plan = find(plan_), pack = find(pack_);
  if (!plan || !pack) return CUDNN_STATUS_BAD_PARAM;
  if (!plan->finalized || !pack->finalized)
    return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                  "a plan or a pack is not finalized");
  int device = host::stream_device(handle->stream);
  std::map<int64_t, void *> memory;
  cudnnStatus_t status = addresses(*plan, *pack, device, memory);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  void *scratch = nullptr;
  auto it = pack->values.find(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  if (it != pack->values.end()) memcpy(&scratch, it->second.bytes.data(), 8);
  size_t bytes = size_t(plan->engine.workspace);
  if (bytes > 0 &&
      !host::device_range(scratch, bytes, "the workspace of a cuDNN plan"))
    return CUDNN_STATUS_EXECUTION_FAILED;
  // Numbers by value are read now, as the real library reads them.
  auto numbers = std::make_shared<std::vector<std::vector<uint8_t>>>();
  for (const dnn::Tensor &t : dnn::bound_tensors(plan->operations))
    if (t.by_value) {
      auto p = static_cast<const uint8_t *>(memory[t.uid]);
      numbers->emplace_back(p, p + dnn::size_of_data(t.type));
      memory[t.uid] = numbers->back().data();
    }
  // The first engine is the one with tensor cores, which round f32 to TF32.
  bool rounding = plan->engine.index == 0;
  host::enqueue(handle->stream, [plan, memory, numbers, scratch, bytes,
                                 rounding] {
    if (bytes > 0) memset(scratch, 0xff, bytes); // whoever keeps something here loses it
    dnn::interpret(plan->operations, memory, rounding);
  });
  return CUDNN_STATUS_SUCCESS;
}

} // extern "C"
