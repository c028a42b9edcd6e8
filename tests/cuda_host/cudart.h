// What the files of the runtime's stand-in share.
#pragma once
#include "core.h"

#include <cuda_runtime_api.h>

#define API extern "C" __attribute__((visibility("default")))

namespace cudart {
// Notes a status as the thread's last error, and hands it back.
cudaError_t failed(int status);
inline cudaError_t finish(int status) {
  return status == 0 ? cudaSuccess : failed(status);
}
inline int check_ordinal(int device) {
  return device >= 0 && device < host::device_count() ? 0
                                                      : host::INVALID_DEVICE;
}
} // namespace cudart

// First line of every function: the call is logged, may fail on demand, and
// fails on a lost device.
#define BEGIN()                                                                \
  do {                                                                         \
    if (int s_ = host::enter("cudart", __func__)) return cudart::finish(s_);   \
    if (int s_ = host::device_lost(host::current_device()))                    \
      return cudart::finish(s_);                                               \
  } while (0)
// The same for functions that do nothing while instant mode is on.
#define BEGIN_WORK()                                                           \
  do {                                                                         \
    if (int s_ = host::enter("cudart", __func__)) return cudart::finish(s_);   \
    if (host::instant()) return cudaSuccess;                                   \
    if (int s_ = host::device_lost(host::current_device()))                    \
      return cudart::finish(s_);                                               \
  } while (0)
#define NEED(condition)                                                        \
  do {                                                                         \
    if (!(condition)) return cudart::finish(host::INVALID_VALUE);              \
  } while (0)
