// CUDA driver: captures and graphs.
#include "driver.h"

#include <cstddef>
#include <cstring>

using namespace host;
using driver::result;

namespace {

Graph *graph_of(CUgraph handle) {
  return handle_live("graph", handle) ? reinterpret_cast<Graph *>(handle)
                                      : nullptr;
}
GraphExec *exec_of(CUgraphExec handle) {
  return handle_live("executable graph", handle)
             ? reinterpret_cast<GraphExec *>(handle)
             : nullptr;
}

int launch_of(const CUDA_KERNEL_NODE_PARAMS *p,
              std::shared_ptr<const Launch> *out) {
  if (!handle_live("function", p->func)) return INVALID_HANDLE;
  auto *kernel = reinterpret_cast<Kernel *>(p->func);
  unsigned grid[] = {p->gridDimX, p->gridDimY, p->gridDimZ};
  unsigned block[] = {p->blockDimX, p->blockDimY, p->blockDimZ};
  return launch_make(kernel, grid, block, p->sharedMemBytes, p->kernelParams,
                     p->extra, out);
}

CUresult set_params(CUgraphExec handle, CUgraphNode which,
                    const CUDA_KERNEL_NODE_PARAMS &in) {
  HANDLE(exec, exec_of(handle));
  if (!node_live(which)) return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<const Launch> launch;
  if (int s = launch_of(&in, &launch)) return result(s);
  return result(graph_exec_set(exec, reinterpret_cast<Node *>(which), launch));
}

CUresult capture_info(Stream *stream, CUstreamCaptureStatus *status,
                      cuuint64_t *id, CUgraph *graph,
                      const CUgraphNode **dependencies, size_t *count) {
  std::lock_guard lock(core_mutex);
  auto &capture = capture_of(stream);
  *status = !capture           ? CU_STREAM_CAPTURE_STATUS_NONE
            : capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (!capture) return CUDA_SUCCESS;
  auto &tails = capture->tails[stream];
  if (id) *id = capture->id;
  if (graph) *graph = reinterpret_cast<CUgraph>(capture->graph);
  if (dependencies)
    *dependencies = reinterpret_cast<const CUgraphNode *>(tails.data());
  if (count) *count = tails.size();
  return CUDA_SUCCESS;
}

} // namespace

API CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
  BEGIN();
  NEED(mode >= 0 && mode <= 2);
  HANDLE(stream, stream_of(handle));
  return result(capture_begin(stream, mode));
}

API CUresult cuStreamEndCapture(CUstream handle, CUgraph *out) {
  BEGIN();
  NEED(out);
  HANDLE(stream, stream_of(handle));
  Graph *graph;
  int status = capture_end(stream, &graph);
  *out = reinterpret_cast<CUgraph>(graph);
  return result(status);
}

API CUresult cuStreamGetCaptureInfo(CUstream handle,
                                    CUstreamCaptureStatus *status,
                                    cuuint64_t *id, CUgraph *graph,
                                    const CUgraphNode **dependencies,
                                    const CUgraphEdgeData **edges,
                                    size_t *count) {
  BEGIN();
  NEED(status);
  HANDLE(stream, stream_of(handle));
  if (edges) *edges = nullptr;
  return capture_info(stream, status, id, graph, dependencies, count);
}

API CUresult cuGraphInstantiate(CUgraphExec *out, CUgraph handle,
                                unsigned long long) {
  BEGIN();
  NEED(out);
  HANDLE(graph, graph_of(handle));
  GraphExec *exec = nullptr;
  int status = graph_instantiate(graph, &exec);
  *out = reinterpret_cast<CUgraphExec>(exec);
  return result(status);
}

API CUresult cuGraphLaunch(CUgraphExec handle, CUstream in) {
  BEGIN_WORK();
  HANDLE(exec, exec_of(handle));
  HANDLE(stream, stream_of(in));
  if (int s = stream_ready(stream)) return result(s);
  return result(graph_launch(exec, stream));
}

API CUresult cuGraphDestroy(CUgraph handle) {
  if (int s = enter("cuda", __func__)) return result(s);
  HANDLE(graph, graph_of(handle));
  graph_free(graph);
  return CUDA_SUCCESS;
}

API CUresult cuGraphExecDestroy(CUgraphExec handle) {
  if (int s = enter("cuda", __func__)) return result(s);
  HANDLE(exec, exec_of(handle));
  graph_exec_free(exec);
  return CUDA_SUCCESS;
}

API CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *out, size_t *count) {
  BEGIN();
  NEED(count && handle_live("graph", handle));
  auto *graph = reinterpret_cast<Graph *>(handle);
  size_t have = graph->nodes.size();
  if (out != nullptr)
    for (size_t i = 0; i < *count; i++)
      out[i] = i < have
                   ? reinterpret_cast<CUgraphNode>(graph->nodes[i].get())
                   : nullptr;
  if (out == nullptr || *count > have) *count = have;
  return CUDA_SUCCESS;
}

API CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType *type) {
  BEGIN();
  NEED(type && node_live(handle));
  *type = static_cast<CUgraphNodeType>(
      reinterpret_cast<Node *>(handle)->type);
  return CUDA_SUCCESS;
}

API CUresult cuGraphKernelNodeGetParams(CUgraphNode handle,
                                        CUDA_KERNEL_NODE_PARAMS *out) {
  BEGIN();
  NEED(out && node_live(handle));
  auto *node = reinterpret_cast<Node *>(handle);
  NEED(node->work.launch);
  const Launch &launch = *node->work.launch;
  *out = {};
  out->func = reinterpret_cast<CUfunction>(launch.kernel);
  out->gridDimX = launch.grid[0];
  out->gridDimY = launch.grid[1];
  out->gridDimZ = launch.grid[2];
  out->blockDimX = launch.block[0];
  out->blockDimY = launch.block[1];
  out->blockDimZ = launch.block[2];
  out->sharedMemBytes = launch.shared;
  out->kernelParams = node_params(node);
  return CUDA_SUCCESS;
}

API CUresult cuGraphExecKernelNodeSetParams(CUgraphExec handle,
                                            CUgraphNode which,
                                            const CUDA_KERNEL_NODE_PARAMS *in) {
  BEGIN();
  NEED(in);
  return set_params(handle, which, *in);
}

// The names of older drivers, which the newest still has.
#undef cuGraphExecKernelNodeSetParams
API CUresult
cuGraphExecKernelNodeSetParams(CUgraphExec handle, CUgraphNode which,
                               const CUDA_KERNEL_NODE_PARAMS_v1 *in) {
  BEGIN();
  NEED(in);
  CUDA_KERNEL_NODE_PARAMS all = {};
  static_assert(offsetof(CUDA_KERNEL_NODE_PARAMS, kern) == sizeof *in,
                "the older structure is the beginning of the newer one");
  memcpy(static_cast<void *>(&all), in, sizeof *in);
  return set_params(handle, which, all);
}

API CUresult cuStreamGetCaptureInfo_v2(CUstream handle,
                                       CUstreamCaptureStatus *status,
                                       cuuint64_t *id, CUgraph *graph,
                                       const CUgraphNode **dependencies,
                                       size_t *count) {
  BEGIN();
  NEED(status);
  HANDLE(stream, stream_of(handle));
  return capture_info(stream, status, id, graph, dependencies, count);
}
