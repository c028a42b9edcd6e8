// CUDA runtime: memory, pools, copies.
#include "cudart.h"

using namespace host;
using cudart::finish;

namespace {

Stream *stream(cudaStream_t handle) { return stream_of(handle); }

Pool *pool_of(cudaMemPool_t handle) {
  return handle_live("memory pool", handle) ? reinterpret_cast<Pool *>(handle)
                                            : nullptr;
}
cudaMemPool_t handle_of(Pool *pool) {
  auto handle = reinterpret_cast<cudaMemPool_t>(pool);
  if (!pool->own && !handle_known("memory pool", handle)) {
    handle_made("memory pool", handle);
    handle_never_leaks(handle);
  }
  return handle;
}

int allocate_in_order(void **out, size_t bytes, Pool *pool,
                      cudaStream_t handle) {
  if (instant()) return allocate(current_device(), bytes, out, nullptr, nullptr);
  Stream *in = stream(handle);
  if (int status = stream_ready(in)) return status;
  if (pool == nullptr) pool = current_pool(stream_ordinal(in));
  return allocate(pool->device, bytes, out, in, pool);
}

} // namespace

API cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  BEGIN();
  NEED(free && total);
  memory_info(current_device(), free, total);
  return cudaSuccess;
}

API cudaError_t cudaMalloc(void **out, size_t bytes) {
  BEGIN();
  NEED(out);
  if (int s = capture_refuses_unsafe()) return finish(s);
  return finish(allocate(current_device(), bytes, out, nullptr, nullptr));
}

API cudaError_t cudaFree(void *p) {
  BEGIN();
  if (p == nullptr) return cudaSuccess;
  if (int s = capture_refuses_unsafe()) return finish(s);
  return finish(release(p, nullptr, __func__));
}

API cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t handle) {
  BEGIN();
  NEED(out);
  return finish(allocate_in_order(out, bytes, nullptr, handle));
}

API cudaError_t cudaMallocFromPoolAsync(void **out, size_t bytes,
                                        cudaMemPool_t handle,
                                        cudaStream_t in) {
  BEGIN();
  NEED(out);
  Pool *pool = pool_of(handle);
  NEED(pool);
  return finish(allocate_in_order(out, bytes, pool, in));
}

API cudaError_t cudaFreeAsync(void *p, cudaStream_t handle) {
  BEGIN_WORK();
  NEED(p);
  Stream *in = stream(handle);
  if (int s = stream_ready(in)) return finish(s);
  return finish(release(p, in, __func__));
}

API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *out, int device) {
  BEGIN();
  NEED(out);
  if (int s = cudart::check_ordinal(device)) return finish(s);
  *out = handle_of(default_pool(device));
  return cudaSuccess;
}

API cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *out, int device) {
  BEGIN();
  NEED(out);
  if (int s = cudart::check_ordinal(device)) return finish(s);
  *out = handle_of(current_pool(device));
  return cudaSuccess;
}

API cudaError_t cudaDeviceSetMemPool(int device, cudaMemPool_t handle) {
  BEGIN();
  if (int s = cudart::check_ordinal(device)) return finish(s);
  Pool *pool = pool_of(handle);
  NEED(pool && pool->device == device);
  set_current_pool(device, pool);
  return cudaSuccess;
}

API cudaError_t cudaMemPoolCreate(cudaMemPool_t *out,
                                  const cudaMemPoolProps *props) {
  BEGIN();
  NEED(out && props && props->location.type == cudaMemLocationTypeDevice);
  if (int s = cudart::check_ordinal(props->location.id)) return finish(s);
  Pool *pool = pool_make(props->location.id);
  *out = reinterpret_cast<cudaMemPool_t>(pool);
  handle_made("memory pool", *out);
  return cudaSuccess;
}

API cudaError_t cudaMemPoolDestroy(cudaMemPool_t handle) {
  BEGIN();
  Pool *pool = pool_of(handle);
  NEED(pool && pool->own);
  pool_drop(pool);
  handle_gone("memory pool", handle);
  return cudaSuccess;
}

API cudaError_t cudaMemPoolTrimTo(cudaMemPool_t handle, size_t keep) {
  BEGIN();
  Pool *pool = pool_of(handle);
  NEED(pool);
  pool_trim(pool, keep);
  return cudaSuccess;
}

API cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t handle,
                                        cudaMemPoolAttr which, void *value) {
  BEGIN();
  Pool *pool = pool_of(handle);
  NEED(pool && value);
  auto *number = static_cast<uint64_t *>(value);
  switch (int(which)) {
  case cudaMemPoolReuseFollowEventDependencies:
  case cudaMemPoolReuseAllowOpportunistic:
  case cudaMemPoolReuseAllowInternalDependencies:
    pool->switches[which] = uint64_t(*static_cast<int *>(value));
    return cudaSuccess;
  case cudaMemPoolAttrReleaseThreshold: pool->threshold = *number; return cudaSuccess;
  case cudaMemPoolAttrReservedMemHigh:
    NEED(*number == 0);
    pool->reserved_high = pool->reserved;
    return cudaSuccess;
  case cudaMemPoolAttrUsedMemHigh:
    NEED(*number == 0);
    pool->used_high = pool->used;
    return cudaSuccess;
  default: return finish(INVALID_VALUE);
  }
}

API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t handle,
                                        cudaMemPoolAttr which, void *value) {
  BEGIN();
  Pool *pool = pool_of(handle);
  NEED(pool && value);
  auto *number = static_cast<uint64_t *>(value);
  switch (int(which)) {
  case cudaMemPoolReuseFollowEventDependencies:
  case cudaMemPoolReuseAllowOpportunistic:
  case cudaMemPoolReuseAllowInternalDependencies: {
    auto found = pool->switches.find(which);
    *static_cast<int *>(value) =
        found == pool->switches.end() ? 1 : int(found->second);
    return cudaSuccess;
  }
  case cudaMemPoolAttrReleaseThreshold: *number = pool->threshold; break;
  case cudaMemPoolAttrReservedMemCurrent: *number = pool->reserved; break;
  case cudaMemPoolAttrReservedMemHigh: *number = pool->reserved_high; break;
  case cudaMemPoolAttrUsedMemCurrent: *number = pool->used; break;
  case cudaMemPoolAttrUsedMemHigh: *number = pool->used_high; break;
  default: return finish(INVALID_VALUE);
  }
  return cudaSuccess;
}

API cudaError_t cudaMemPoolSetAccess(cudaMemPool_t handle,
                                     const cudaMemAccessDesc *list,
                                     size_t count) {
  BEGIN();
  Pool *pool = pool_of(handle);
  NEED(pool && (list || count == 0));
  for (size_t i = 0; i < count; i++) {
    NEED(list[i].location.type == cudaMemLocationTypeDevice);
    int device = list[i].location.id;
    if (int s = cudart::check_ordinal(device)) return finish(s);
    bool on = list[i].flags == cudaMemAccessFlagsProtReadWrite;
    NEED(on || device != pool->device); // the own device keeps its access
    if (device != pool->device) pool_access(pool, device, on);
  }
  return cudaSuccess;
}

API cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int) {
  BEGIN();
  NEED(out);
  if (int s = capture_refuses_unsafe()) return finish(s);
  return finish(pin(bytes, out));
}

API cudaError_t cudaMallocHost(void **out, size_t bytes) {
  BEGIN();
  NEED(out);
  if (int s = capture_refuses_unsafe()) return finish(s);
  return finish(pin(bytes, out));
}

API cudaError_t cudaFreeHost(void *p) {
  BEGIN();
  if (int s = capture_refuses_unsafe()) return finish(s);
  return finish(unpin(p));
}

API cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned int) {
  BEGIN();
  return finish(register_host(p, bytes));
}

API cudaError_t cudaHostUnregister(void *p) {
  BEGIN();
  return finish(unregister_host(p));
}

API cudaError_t cudaHostGetDevicePointer(void **out, void *p, unsigned int) {
  BEGIN();
  NEED(out && place_of(p) == Place::Pinned);
  *out = p;
  return cudaSuccess;
}

API cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes,
                           cudaMemcpyKind kind) {
  BEGIN_WORK();
  if (int s = capture_refuses_unsafe()) return finish(s);
  return finish(copy(to, from, bytes, kind, stream(nullptr), true, __func__));
}

API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                                cudaMemcpyKind kind, cudaStream_t in) {
  BEGIN_WORK();
  return finish(copy(to, from, bytes, kind, stream(in), false, __func__));
}

API cudaError_t cudaMemcpyPeer(void *to, int target, const void *from,
                               int source, size_t bytes) {
  BEGIN_WORK();
  NEED(device_of(to) == target && device_of(from) == source);
  return finish(copy(to, from, bytes, 3, stream(nullptr), true, __func__));
}

API cudaError_t cudaMemcpyPeerAsync(void *to, int target, const void *from,
                                    int source, size_t bytes,
                                    cudaStream_t in) {
  BEGIN_WORK();
  NEED(device_of(to) == target && device_of(from) == source);
  return finish(copy(to, from, bytes, 3, stream(in), false, __func__));
}

API cudaError_t cudaMemset(void *to, int value, size_t bytes) {
  BEGIN_WORK();
  return finish(fill(to, unsigned(value) & 0xff, 1, bytes, stream(nullptr),
                     true, __func__));
}

API cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes,
                                cudaStream_t in) {
  BEGIN_WORK();
  return finish(fill(to, unsigned(value) & 0xff, 1, bytes, stream(in), false,
                     __func__));
}

API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *out,
                                         const void *p) {
  BEGIN();
  NEED(out);
  *out = {};
  void *address = const_cast<void *>(p);
  switch (place_of(p)) {
  case Place::Device:
    out->type = cudaMemoryTypeDevice;
    out->device = device_of(p);
    out->devicePointer = address;
    break;
  case Place::Pinned:
    out->type = cudaMemoryTypeHost;
    out->device = current_device();
    out->devicePointer = out->hostPointer = address;
    break;
  default:
    out->type = cudaMemoryTypeUnregistered;
    out->device = -2;
  }
  return cudaSuccess;
}
