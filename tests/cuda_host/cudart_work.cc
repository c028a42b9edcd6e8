// CUDA runtime: streams, events, captures, graphs.
#include "cudart.h"

#include <cstring>

using namespace host;
using cudart::finish;

namespace {
Stream *stream(cudaStream_t handle) { return stream_of(handle); }
Event *event_of(cudaEvent_t handle) {
  return handle_live("event", handle) ? reinterpret_cast<Event *>(handle)
                                      : nullptr;
}
Graph *graph_of(cudaGraph_t handle) {
  return handle_live("graph", handle) ? reinterpret_cast<Graph *>(handle)
                                      : nullptr;
}
GraphExec *exec_of(cudaGraphExec_t handle) {
  return handle_live("executable graph", handle)
             ? reinterpret_cast<GraphExec *>(handle)
             : nullptr;
}
Node *node_of(cudaGraphNode_t handle) {
  return node_live(handle) ? reinterpret_cast<Node *>(handle) : nullptr;
}
#define HANDLE(variable, value)                                                \
  auto *variable = value;                                                      \
  if (variable == nullptr) return finish(INVALID_HANDLE)

int make_stream(cudaStream_t *out, unsigned flags, int priority) {
  if (out == nullptr || flags > 1) return INVALID_VALUE;
  *out = reinterpret_cast<cudaStream_t>(
      stream_make(current_device(), flags, priority));
  return OK;
}
int make_event(cudaEvent_t *out, unsigned flags) {
  if (out == nullptr || flags > 7) return INVALID_VALUE;
  *out = reinterpret_cast<cudaEvent_t>(event_make(current_device(), flags));
  return OK;
}
} // namespace

// ---- streams

API cudaError_t cudaStreamCreate(cudaStream_t *out) {
  BEGIN();
  return finish(make_stream(out, 0, 0));
}

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out,
                                          unsigned int flags) {
  BEGIN();
  return finish(make_stream(out, flags, 0));
}

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out,
                                             unsigned int flags, int priority) {
  BEGIN();
  return finish(make_stream(out, flags, priority));
}

API cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  if (int s = enter("cudart", __func__)) return finish(s);
  return finish(stream_destroy(handle));
}

API cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  BEGIN_WORK();
  HANDLE(s, stream(handle));
  return finish(stream_wait(s));
}

API cudaError_t cudaStreamQuery(cudaStream_t handle) {
  BEGIN_WORK();
  HANDLE(s, stream(handle));
  return finish(stream_idle(s));
}

API cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event,
                                    unsigned int flags) {
  BEGIN_WORK();
  NEED(flags <= 1);
  HANDLE(s, stream(handle));
  HANDLE(e, event_of(event));
  return finish(event_wait(s, e));
}

API cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned int *flags) {
  BEGIN();
  NEED(flags);
  HANDLE(s, stream(handle));
  *flags = stream_flags(s);
  return cudaSuccess;
}

API cudaError_t cudaStreamGetPriority(cudaStream_t handle, int *priority) {
  BEGIN();
  NEED(priority);
  HANDLE(s, stream(handle));
  *priority = stream_priority(s);
  return cudaSuccess;
}

API cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function,
                                   void *data) {
  BEGIN_WORK();
  NEED(function);
  HANDLE(s, stream(handle));
  if (int status = stream_ready(s)) return finish(status);
  Work work;
  work.what = __func__;
  work.run = [=] { function(data); };
  submit(s, work);
  return cudaSuccess;
}

// ---- events

API cudaError_t cudaEventCreate(cudaEvent_t *out) {
  BEGIN();
  return finish(make_event(out, 0));
}

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags) {
  BEGIN();
  return finish(make_event(out, flags));
}

API cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  if (int s = enter("cudart", __func__)) return finish(s);
  HANDLE(e, event_of(handle));
  handle_gone("event", e);
  return cudaSuccess;
}

API cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t in) {
  BEGIN_WORK();
  HANDLE(e, event_of(handle));
  HANDLE(s, stream(in));
  if (int status = stream_ready(s)) return finish(status);
  return finish(event_record(e, s));
}

API cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t in,
                                         unsigned int flags) {
  BEGIN_WORK();
  NEED(flags == 0);
  HANDLE(e, event_of(handle));
  HANDLE(s, stream(in));
  if (int status = stream_ready(s)) return finish(status);
  return finish(event_record(e, s));
}

API cudaError_t cudaEventQuery(cudaEvent_t handle) {
  BEGIN_WORK();
  HANDLE(e, event_of(handle));
  return finish(event_query(e));
}

API cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  BEGIN_WORK();
  HANDLE(e, event_of(handle));
  return finish(event_synchronize(e));
}

API cudaError_t cudaEventElapsedTime(float *out, cudaEvent_t start,
                                     cudaEvent_t end) {
  BEGIN();
  NEED(out);
  *out = 0;
  if (instant()) return cudaSuccess;
  HANDLE(a, event_of(start));
  HANDLE(b, event_of(end));
  return finish(event_elapsed(out, a, b));
}

// ---- captures

API cudaError_t cudaStreamBeginCapture(cudaStream_t handle,
                                       cudaStreamCaptureMode mode) {
  BEGIN();
  NEED(mode >= 0 && mode <= 2);
  HANDLE(s, stream(handle));
  return finish(capture_begin(s, mode));
}

API cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out) {
  BEGIN();
  NEED(out);
  HANDLE(s, stream(handle));
  Graph *graph;
  int status = capture_end(s, &graph);
  *out = reinterpret_cast<cudaGraph_t>(graph);
  return finish(status);
}

API cudaError_t cudaStreamIsCapturing(cudaStream_t handle,
                                      cudaStreamCaptureStatus *out) {
  BEGIN();
  NEED(out);
  HANDLE(s, stream(handle));
  std::lock_guard lock(core_mutex);
  auto &capture = capture_of(s);
  *out = !capture           ? cudaStreamCaptureStatusNone
         : capture->invalid ? cudaStreamCaptureStatusInvalidated
                            : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

API cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t handle, cudaStreamCaptureStatus *status,
    unsigned long long *id, cudaGraph_t *graph,
    const cudaGraphNode_t **dependencies, const cudaGraphEdgeData **edges,
    size_t *count) {
  BEGIN();
  NEED(status);
  HANDLE(s, stream(handle));
  std::lock_guard lock(core_mutex);
  auto &capture = capture_of(s);
  *status = !capture           ? cudaStreamCaptureStatusNone
            : capture->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
  if (!capture) return cudaSuccess;
  auto &tails = capture->tails[s];
  if (id) *id = capture->id;
  if (graph) *graph = reinterpret_cast<cudaGraph_t>(capture->graph);
  if (dependencies)
    *dependencies = reinterpret_cast<const cudaGraphNode_t *>(tails.data());
  if (edges) *edges = nullptr;
  if (count) *count = tails.size();
  return cudaSuccess;
}

API cudaError_t
cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
  BEGIN();
  NEED(mode && *mode >= 0 && *mode <= 2);
  *mode = static_cast<cudaStreamCaptureMode>(exchange_capture_mode(*mode));
  return cudaSuccess;
}

// ---- graphs

API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t handle,
                                     unsigned long long) {
  BEGIN();
  NEED(out);
  HANDLE(graph, graph_of(handle));
  GraphExec *exec = nullptr;
  int status = graph_instantiate(graph, &exec);
  *out = reinterpret_cast<cudaGraphExec_t>(exec);
  return finish(status);
}

API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out,
                                              cudaGraph_t handle,
                                              unsigned long long) {
  BEGIN();
  NEED(out);
  HANDLE(graph, graph_of(handle));
  GraphExec *exec = nullptr;
  int status = graph_instantiate(graph, &exec);
  *out = reinterpret_cast<cudaGraphExec_t>(exec);
  return finish(status);
}

API cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t in) {
  BEGIN_WORK();
  HANDLE(exec, exec_of(handle));
  HANDLE(s, stream(in));
  if (int status = stream_ready(s)) return finish(status);
  return finish(graph_launch(exec, s));
}

API cudaError_t cudaGraphUpload(cudaGraphExec_t handle, cudaStream_t in) {
  BEGIN_WORK();
  HANDLE(exec, exec_of(handle));
  HANDLE(s, stream(in));
  return finish(stream_ready(s));
}

API cudaError_t cudaGraphDestroy(cudaGraph_t handle) {
  if (int s = enter("cudart", __func__)) return finish(s);
  HANDLE(graph, graph_of(handle));
  graph_free(graph);
  return cudaSuccess;
}

API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t handle) {
  if (int s = enter("cudart", __func__)) return finish(s);
  HANDLE(exec, exec_of(handle));
  graph_exec_free(exec);
  return cudaSuccess;
}

API cudaError_t cudaGraphGetNodes(cudaGraph_t handle, cudaGraphNode_t *out,
                                  size_t *count) {
  BEGIN();
  NEED(count);
  HANDLE(graph, graph_of(handle));
  size_t have = graph->nodes.size();
  if (out == nullptr) {
    *count = have;
    return cudaSuccess;
  }
  for (size_t i = 0; i < *count; i++)
    out[i] = i < have ? reinterpret_cast<cudaGraphNode_t>(
                            graph->nodes[i].get())
                      : nullptr;
  if (*count > have) *count = have;
  return cudaSuccess;
}

API cudaError_t cudaGraphGetEdges(cudaGraph_t handle, cudaGraphNode_t *from,
                                  cudaGraphNode_t *to, cudaGraphEdgeData *data,
                                  size_t *count) {
  BEGIN();
  NEED(count);
  HANDLE(graph, graph_of(handle));
  size_t have = 0;
  for (auto &node : graph->nodes)
    for (Node *before : node->after) {
      if (from && to && have < *count) {
        from[have] = reinterpret_cast<cudaGraphNode_t>(before);
        to[have] = reinterpret_cast<cudaGraphNode_t>(node.get());
        if (data) memset(static_cast<void *>(data + have), 0, sizeof *data);
      }
      have++;
    }
  *count = from && to && have > *count ? *count : have;
  return cudaSuccess;
}

API cudaError_t cudaGraphNodeGetType(cudaGraphNode_t handle,
                                     cudaGraphNodeType *out) {
  BEGIN();
  NEED(out);
  HANDLE(node, node_of(handle));
  *out = static_cast<cudaGraphNodeType>(node->type);
  return cudaSuccess;
}

namespace {
// Parameters of a kernel node, as the launch of `function` by these.
int launch_of(const cudaKernelNodeParams *p,
              std::shared_ptr<const Launch> *out) {
  if (!handle_live("function", p->func)) return 98; // InvalidDeviceFunction
  unsigned grid[] = {p->gridDim.x, p->gridDim.y, p->gridDim.z};
  unsigned block[] = {p->blockDim.x, p->blockDim.y, p->blockDim.z};
  return launch_make(static_cast<Kernel *>(p->func), grid, block,
                     p->sharedMemBytes, p->kernelParams, p->extra, out);
}
} // namespace

API cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t handle,
                                             cudaKernelNodeParams *out) {
  BEGIN();
  NEED(out);
  HANDLE(node, node_of(handle));
  NEED(node->work.launch);
  const Launch &launch = *node->work.launch;
  *out = {};
  out->func = launch.kernel;
  out->gridDim.x = launch.grid[0];
  out->gridDim.y = launch.grid[1];
  out->gridDim.z = launch.grid[2];
  out->blockDim.x = launch.block[0];
  out->blockDim.y = launch.block[1];
  out->blockDim.z = launch.block[2];
  out->sharedMemBytes = launch.shared;
  out->kernelParams = node_params(node);
  return cudaSuccess;
}

API cudaError_t cudaGraphKernelNodeSetParams(cudaGraphNode_t handle,
                                             const cudaKernelNodeParams *in) {
  BEGIN();
  NEED(in);
  HANDLE(node, node_of(handle));
  NEED(node->work.launch);
  std::lock_guard lock(core_mutex);
  return finish(launch_of(in, &node->work.launch));
}

API cudaError_t
cudaGraphExecKernelNodeSetParams(cudaGraphExec_t handle, cudaGraphNode_t which,
                                 const cudaKernelNodeParams *in) {
  BEGIN();
  NEED(in);
  HANDLE(exec, exec_of(handle));
  HANDLE(node, node_of(which));
  std::shared_ptr<const Launch> launch;
  if (int status = launch_of(in, &launch)) return finish(status);
  return finish(graph_exec_set(exec, node, launch));
}

API cudaError_t cudaGraphExecUpdate(cudaGraphExec_t handle, cudaGraph_t with,
                                    cudaGraphExecUpdateResultInfo *info) {
  BEGIN();
  HANDLE(exec, exec_of(handle));
  HANDLE(graph, graph_of(with));
  Node *culprit;
  int status = graph_update(exec, graph, &culprit);
  if (info) {
    memset(static_cast<void *>(info), 0, sizeof *info);
    info->result = status ? cudaGraphExecUpdateErrorTopologyChanged
                          : cudaGraphExecUpdateSuccess;
    info->errorNode = reinterpret_cast<cudaGraphNode_t>(culprit);
  }
  return finish(status);
}
