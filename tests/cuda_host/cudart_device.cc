// CUDA runtime: devices, errors, versions, peers.
#include "cudart.h"
#include "properties.h"
#include "statuses.h"

#include <cstdio>
#include <cstring>

using namespace host;
using cudart::finish;

namespace {
// The last error of a thread; a reset of the machine forgets it.
struct LastError {
  int status;
  uint64_t epoch;
};
thread_local LastError last_error = {0, 0};

int read_last_error() {
  if (int lost = device_lost(current_device())) return lost;
  return last_error.epoch == epoch() ? last_error.status : 0;
}
} // namespace

cudaError_t cudart::failed(int status) {
  last_error = {status, epoch()};
  return static_cast<cudaError_t>(status);
}

API cudaError_t cudaGetLastError() {
  int error = read_last_error();
  last_error.status = 0;
  return static_cast<cudaError_t>(error);
}

API cudaError_t cudaPeekAtLastError() {
  return static_cast<cudaError_t>(read_last_error());
}

API const char *cudaGetErrorName(cudaError_t error) {
  auto *row = status_row(error);
  return row ? row->runtime : "unrecognized error code";
}

API const char *cudaGetErrorString(cudaError_t error) {
  auto *row = status_row(error);
  return row ? row->text : "unrecognized error code";
}

API cudaError_t cudaRuntimeGetVersion(int *version) {
  HOST_ENTER("cudart", cudaError_t);
  NEED(version);
  *version = CUDA_VERSION_NUMBER;
  return cudaSuccess;
}

API cudaError_t cudaDriverGetVersion(int *version) {
  HOST_ENTER("cudart", cudaError_t);
  NEED(version);
  *version = CUDA_VERSION_NUMBER;
  return cudaSuccess;
}

API cudaError_t cudaGetDeviceCount(int *count) {
  if (int s = enter("cudart", __func__)) return finish(s);
  NEED(count);
  *count = device_count();
  return *count == 0 ? finish(cudaErrorNoDevice) : cudaSuccess;
}

API cudaError_t cudaGetDevice(int *device) {
  BEGIN();
  NEED(device);
  *device = current_device();
  return cudaSuccess;
}

API cudaError_t cudaSetDevice(int device) {
  if (int s = enter("cudart", __func__)) return finish(s);
  if (int s = cudart::check_ordinal(device)) return finish(s);
  set_current_device(device);
  retain_context(device);
  return finish(device_lost(device));
}

API cudaError_t cudaInitDevice(int device, unsigned int, unsigned int) {
  if (int s = enter("cudart", __func__)) return finish(s);
  return finish(cudart::check_ordinal(device));
}

API cudaError_t cudaDeviceSynchronize() {
  BEGIN_WORK();
  if (capture_refuses_unsafe()) return finish(CAPTURE_UNSUPPORTED);
  int status = device_wait(current_device());
  check_guards(current_device(), "at cudaDeviceSynchronize");
  return finish(status);
}

API cudaError_t cudaDeviceReset() {
  if (int s = enter("cudart", __func__)) return finish(s);
  int device = current_device();
  device_wait(device);
  drop_device_memory(device);
  revive_device(device);
  last_error.status = 0;
  return cudaSuccess;
}

API cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute,
                                       int device) {
  BEGIN();
  NEED(value);
  if (int s = cudart::check_ordinal(device)) return finish(s);
  long found = attribute_of(attribute, device);
  NEED(found >= 0);
  *value = int(found);
  return cudaSuccess;
}

#ifndef DECAF_OWN_HEADERS
// Only the fields that tell what a program may do; the rest is 0.
API cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
  BEGIN();
  NEED(p);
  if (int s = cudart::check_ordinal(device)) return finish(s);
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "%s", DEVICE_NAME);
  p->uuid.bytes[15] = char(device + 1);
  size_t free;
  memory_info(device, &free, &p->totalGlobalMem);
  auto number = [&](int attribute) {
    return int(attribute_of(attribute, device));
  };
  p->sharedMemPerBlock = number(cudaDevAttrMaxSharedMemoryPerBlock);
  p->sharedMemPerBlockOptin = number(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  p->sharedMemPerMultiprocessor =
      number(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  p->reservedSharedMemPerBlock =
      number(cudaDevAttrReservedSharedMemoryPerBlock);
  p->regsPerBlock = number(cudaDevAttrMaxRegistersPerBlock);
  p->regsPerMultiprocessor = number(cudaDevAttrMaxRegistersPerMultiprocessor);
  p->warpSize = number(cudaDevAttrWarpSize);
  p->maxThreadsPerBlock = number(cudaDevAttrMaxThreadsPerBlock);
  p->maxThreadsPerMultiProcessor =
      number(cudaDevAttrMaxThreadsPerMultiProcessor);
  p->maxBlocksPerMultiProcessor =
      number(cudaDevAttrMaxBlocksPerMultiprocessor);
  for (int i = 0; i < 3; i++) {
    p->maxThreadsDim[i] = number(cudaDevAttrMaxBlockDimX + i);
    p->maxGridSize[i] = number(cudaDevAttrMaxGridDimX + i);
  }
  p->totalConstMem = number(cudaDevAttrTotalConstantMemory);
  p->major = number(cudaDevAttrComputeCapabilityMajor);
  p->minor = number(cudaDevAttrComputeCapabilityMinor);
  p->multiProcessorCount = number(cudaDevAttrMultiProcessorCount);
  p->memoryBusWidth = number(cudaDevAttrGlobalMemoryBusWidth);
  p->l2CacheSize = number(cudaDevAttrL2CacheSize);
  p->asyncEngineCount = number(cudaDevAttrAsyncEngineCount);
  p->pciBusID = number(cudaDevAttrPciBusId);
  p->unifiedAddressing = p->concurrentKernels = p->memoryPoolsSupported =
      p->cooperativeLaunch = p->managedMemory = 1;
  return cudaSuccess;
}
#endif

API cudaError_t cudaDeviceGetPCIBusId(char *text, int room, int device) {
  BEGIN();
  if (int s = cudart::check_ordinal(device)) return finish(s);
  NEED(text && room >= 13);
  snprintf(text, size_t(room), "0000:%02X:00.0",
           unsigned(attribute_of(33, device)) & 0xff);
  return cudaSuccess;
}

API cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  BEGIN();
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return cudaSuccess;
}

API cudaError_t cudaDeviceGetP2PAttribute(int *value, cudaDeviceP2PAttr which,
                                          int from, int to) {
  BEGIN();
  NEED(value && from != to);
  if (int s = cudart::check_ordinal(from)) return finish(s);
  if (int s = cudart::check_ordinal(to)) return finish(s);
  NEED(which >= 1 && which <= 4);
  *value = which == 1 ? 0 : which != 4; // best rank; arrays of textures: no
  return cudaSuccess;
}

API cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
  BEGIN();
  NEED(can);
  if (int s = cudart::check_ordinal(device)) return finish(s);
  if (int s = cudart::check_ordinal(peer)) return finish(s);
  *can = device != peer;
  return cudaSuccess;
}

API cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int flags) {
  BEGIN();
  NEED(flags == 0);
  int device = current_device();
  if (cudart::check_ordinal(peer) || peer == device)
    return finish(INVALID_DEVICE);
  return finish(enable_peer(device, peer));
}

API cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  BEGIN();
  int device = current_device();
  if (cudart::check_ordinal(peer) || peer == device)
    return finish(INVALID_DEVICE);
  return finish(disable_peer(device, peer));
}
