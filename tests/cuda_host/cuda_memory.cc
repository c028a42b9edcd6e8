// CUDA driver: memory, copies, streams, events; the runtime has the same.
#include "driver.h"

using namespace host;
using driver::result;

namespace {
void *address(CUdeviceptr p) { return reinterpret_cast<void *>(p); }
Event *event_of(CUevent handle) {
  return handle_live("event", handle) ? reinterpret_cast<Event *>(handle)
                                      : nullptr;
}
} // namespace

API CUresult cuMemAlloc(CUdeviceptr *out, size_t bytes) {
  BEGIN();
  NEED(out && bytes > 0);
  if (int s = capture_refuses_unsafe()) return result(s);
  void *p = nullptr;
  int status = allocate(current_device(), bytes, &p, nullptr, nullptr);
  *out = reinterpret_cast<CUdeviceptr>(p);
  return result(status);
}

API CUresult cuMemFree(CUdeviceptr p) {
  BEGIN();
  if (int s = capture_refuses_unsafe()) return result(s);
  return result(release(address(p), nullptr, __func__));
}

API CUresult cuMemAllocAsync(CUdeviceptr *out, size_t bytes, CUstream in) {
  BEGIN();
  NEED(out && bytes > 0);
  HANDLE(stream, stream_of(in));
  if (int s = stream_ready(stream)) return result(s);
  void *p = nullptr;
  int device = stream_ordinal(stream);
  int status = allocate(device, bytes, &p, stream, current_pool(device));
  *out = reinterpret_cast<CUdeviceptr>(p);
  return result(status);
}

API CUresult cuMemFreeAsync(CUdeviceptr p, CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  if (int s = stream_ready(stream)) return result(s);
  return result(release(address(p), stream, __func__));
}

API CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes,
                               CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(copy(address(to), from, bytes, 1, stream, false, __func__));
}

API CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes,
                               CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(copy(to, address(from), bytes, 2, stream, false, __func__));
}

API CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                               CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(
      copy(address(to), address(from), bytes, 3, stream, false, __func__));
}

API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                           CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(
      copy(address(to), address(from), bytes, 4, stream, false, __func__));
}

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
                             CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(fill(address(to), value, 1, count, stream, false, __func__));
}

API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value,
                              size_t count, CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(fill(address(to), value, 2, count, stream, false, __func__));
}

API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count,
                              CUstream in) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(in));
  return result(fill(address(to), value, 4, count, stream, false, __func__));
}

API CUresult cuStreamCreate(CUstream *out, unsigned int flags) {
  BEGIN();
  NEED(out && flags <= 1);
  *out = reinterpret_cast<CUstream>(stream_make(current_device(), flags, 0));
  return CUDA_SUCCESS;
}

API CUresult cuStreamDestroy(CUstream handle) {
  if (int s = enter("cuda", __func__)) return result(s);
  return result(stream_destroy(handle));
}

API CUresult cuStreamSynchronize(CUstream handle) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(handle));
  return result(stream_wait(stream));
}

API CUresult cuStreamQuery(CUstream handle) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(handle));
  return result(stream_idle(stream));
}

API CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int) {
  BEGIN_WORK();
  HANDLE(stream, stream_of(handle));
  HANDLE(e, event_of(event));
  return result(event_wait(stream, e));
}

API CUresult cuEventCreate(CUevent *out, unsigned int flags) {
  BEGIN();
  NEED(out && flags <= 7);
  *out = reinterpret_cast<CUevent>(event_make(current_device(), flags));
  return CUDA_SUCCESS;
}

API CUresult cuEventDestroy(CUevent handle) {
  if (int s = enter("cuda", __func__)) return result(s);
  HANDLE(e, event_of(handle));
  handle_gone("event", e);
  return CUDA_SUCCESS;
}

API CUresult cuEventRecord(CUevent handle, CUstream in) {
  BEGIN_WORK();
  HANDLE(e, event_of(handle));
  HANDLE(stream, stream_of(in));
  if (int s = stream_ready(stream)) return result(s);
  return result(event_record(e, stream));
}

API CUresult cuEventQuery(CUevent handle) {
  BEGIN_WORK();
  HANDLE(e, event_of(handle));
  return result(event_query(e));
}

API CUresult cuEventSynchronize(CUevent handle) {
  BEGIN_WORK();
  HANDLE(e, event_of(handle));
  return result(event_synchronize(e));
}

API CUresult cuEventElapsedTime(float *out, CUevent start, CUevent end) {
  BEGIN();
  NEED(out);
  HANDLE(a, event_of(start));
  HANDLE(b, event_of(end));
  return result(event_elapsed(out, a, b));
}
