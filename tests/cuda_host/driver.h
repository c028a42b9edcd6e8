// What the files of the driver's stand-in share.
#pragma once
#include "core.h"

#include <cuda.h>

#define API extern "C" __attribute__((visibility("default")))

namespace driver {
// The context of the calling thread, or an error.
int ready();
inline CUresult result(int status) { return static_cast<CUresult>(status); }
} // namespace driver

#define BEGIN()                                                                \
  do {                                                                         \
    if (int s_ = host::enter("cuda", __func__)) return driver::result(s_);     \
    if (int s_ = driver::ready()) return driver::result(s_);                   \
  } while (0)
#define BEGIN_WORK()                                                           \
  do {                                                                         \
    if (int s_ = host::enter("cuda", __func__)) return driver::result(s_);     \
    if (host::instant()) return CUDA_SUCCESS;                                  \
    if (int s_ = driver::ready()) return driver::result(s_);                   \
  } while (0)
#define NEED(condition)                                                        \
  do {                                                                         \
    if (!(condition)) return CUDA_ERROR_INVALID_VALUE;                         \
  } while (0)
#define HANDLE(variable, value)                                                \
  auto *variable = value;                                                      \
  if (variable == nullptr) return CUDA_ERROR_INVALID_HANDLE
