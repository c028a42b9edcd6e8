// CUDA driver: devices, contexts, statuses.
#include "driver.h"
#include "properties.h"
#include "statuses.h"

#include <cstdio>
#include <cstring>

using namespace host;
using driver::result;

namespace {
std::atomic<bool> initialised{false};
char contexts[MAX_DEVICES]; // addresses that stand for primary contexts

CUcontext context_of(int device) {
  return reinterpret_cast<CUcontext>(&contexts[device]);
}
int ordinal_of(CUcontext context) {
  auto *p = reinterpret_cast<char *>(context);
  return p >= contexts && p < contexts + MAX_DEVICES ? int(p - contexts) : -1;
}
int check(int device) {
  if (!initialised && !context_retained(0)) return CUDA_ERROR_NOT_INITIALIZED;
  return device >= 0 && device < device_count() ? OK : INVALID_DEVICE;
}
} // namespace

int driver::ready() {
  int device = current_device();
  if (!initialised && !context_retained(device))
    return CUDA_ERROR_NOT_INITIALIZED;
  if (context_detached() || !context_retained(device)) return INVALID_CONTEXT;
  return device_lost(device);
}

API CUresult cuInit(unsigned int flags) {
  HOST_ENTER("cuda", CUresult);
  NEED(flags == 0);
  if (device_count() == 0) return CUDA_ERROR_NO_DEVICE;
  initialised = true;
  return CUDA_SUCCESS;
}

API CUresult cuDriverGetVersion(int *version) {
  HOST_ENTER("cuda", CUresult);
  NEED(version);
  *version = CUDA_VERSION_NUMBER;
  return CUDA_SUCCESS;
}

API CUresult cuGetErrorName(CUresult error, const char **out) {
  NEED(out);
  auto *row = status_row(error);
  *out = row ? row->driver : nullptr;
  return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGetErrorString(CUresult error, const char **out) {
  NEED(out);
  auto *row = status_row(error);
  *out = row && row->driver ? row->text : nullptr;
  return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuDeviceGetCount(int *count) {
  HOST_ENTER("cuda", CUresult);
  NEED(count);
  if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
  *count = device_count();
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  HOST_ENTER("cuda", CUresult);
  NEED(device);
  if (int s = check(ordinal)) return result(s);
  *device = ordinal;
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGetName(char *name, int room, CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  NEED(name && room > 0);
  if (int s = check(device)) return result(s);
  snprintf(name, size_t(room), "%s", DEVICE_NAME);
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  NEED(uuid);
  if (int s = check(device)) return result(s);
  memset(uuid, 0, sizeof *uuid);
  uuid->bytes[15] = char(device + 1);
  return CUDA_SUCCESS;
}

API CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  NEED(bytes);
  if (int s = check(device)) return result(s);
  size_t free;
  memory_info(device, &free, bytes);
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute,
                                  CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  NEED(value);
  if (int s = check(device)) return result(s);
  long found = attribute_of(attribute, device);
  NEED(found >= 0);
  *value = int(found);
  return CUDA_SUCCESS;
}

API CUresult cuDeviceGetPCIBusId(char *text, int room, CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  NEED(text && room >= 13);
  if (int s = check(device)) return result(s);
  snprintf(text, size_t(room), "0000:%02X:00.0",
           unsigned(attribute_of(33, device)) & 0xff);
  return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  NEED(out);
  if (int s = check(device)) return result(s);
  retain_context(device);
  *out = context_of(device);
  return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  HOST_ENTER("cuda", CUresult);
  if (int s = check(device)) return result(s);
  if (!context_retained(device)) return CUDA_ERROR_INVALID_CONTEXT;
  release_context(device);
  return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags,
                                        int *active) {
  HOST_ENTER("cuda", CUresult);
  NEED(flags && active);
  if (int s = check(device)) return result(s);
  *flags = 0;
  *active = context_retained(device);
  return CUDA_SUCCESS;
}

API CUresult cuCtxSetCurrent(CUcontext context) {
  HOST_ENTER("cuda", CUresult);
  if (context == nullptr) {
    detach_context();
    return CUDA_SUCCESS;
  }
  int device = ordinal_of(context);
  if (device < 0 || !context_retained(device)) {
    violation("cuCtxSetCurrent: %p is no context", static_cast<void *>(context));
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  set_current_device(device);
  return CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext *out) {
  HOST_ENTER("cuda", CUresult);
  NEED(out);
  int device = current_device();
  bool none = context_detached() || !context_retained(device);
  *out = none ? nullptr : context_of(device);
  return CUDA_SUCCESS;
}

API CUresult cuCtxGetDevice(CUdevice *device) {
  BEGIN();
  NEED(device);
  *device = current_device();
  return CUDA_SUCCESS;
}

API CUresult cuCtxSynchronize() {
  BEGIN_WORK();
  if (int s = capture_refuses_unsafe()) return result(s);
  int status = device_wait(current_device());
  check_guards(current_device(), "at cuCtxSynchronize");
  return result(status);
}

API CUresult cuMemGetInfo(size_t *free, size_t *total) {
  BEGIN();
  NEED(free && total);
  memory_info(current_device(), free, total);
  return CUDA_SUCCESS;
}
