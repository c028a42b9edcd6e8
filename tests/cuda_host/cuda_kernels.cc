// CUDA driver: modules, functions, launches.
#include "driver.h"

#include <algorithm>

using namespace host;
using driver::result;

namespace {

std::map<Module *, std::map<std::string, Kernel *>> &loaded() {
  static auto *m = new std::map<Module *, std::map<std::string, Kernel *>>;
  return *m;
}
Module *module_of(CUmodule handle) {
  return handle_live("module", handle) ? reinterpret_cast<Module *>(handle)
                                       : nullptr;
}
Kernel *kernel_of(CUfunction handle) {
  return handle_live("function", handle) ? reinterpret_cast<Kernel *>(handle)
                                         : nullptr;
}

CUresult load(CUmodule *out, const void *image) {
  Module *module;
  if (int s = module_load(static_cast<const char *>(image), current_device(),
                          &module))
    return result(s);
  *out = reinterpret_cast<CUmodule>(module);
  return CUDA_SUCCESS;
}

} // namespace

API CUresult cuModuleLoadData(CUmodule *out, const void *image) {
  BEGIN();
  NEED(out && image);
  return load(out, image);
}

API CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned int,
                                CUjit_option *, void **) {
  BEGIN();
  NEED(out && image);
  return load(out, image);
}

API CUresult cuModuleUnload(CUmodule handle) {
  if (int s = enter("cuda", __func__)) return result(s);
  HANDLE(module, module_of(handle));
  std::lock_guard lock(core_mutex);
  for (auto &entry : loaded()[module]) handle_gone("function", entry.second);
  loaded().erase(module);
  module_unload(module);
  return CUDA_SUCCESS;
}

API CUresult cuModuleGetFunction(CUfunction *out, CUmodule handle,
                                 const char *name) {
  BEGIN();
  NEED(out && name);
  HANDLE(module, module_of(handle));
  std::lock_guard lock(core_mutex);
  Kernel *&kernel = loaded()[module][name];
  if (kernel == nullptr) {
    const KernelInfo *info = module_find(module, name);
    if (info == nullptr) {
      loaded()[module].erase(name);
      return CUDA_ERROR_NOT_FOUND;
    }
    kernel = new Kernel{module, info};
    handle_made("function", kernel);
    handle_never_leaks(kernel);
  }
  *out = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}

API CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute,
                                CUfunction handle) {
  BEGIN();
  NEED(value);
  HANDLE(kernel, kernel_of(handle));
  switch (int(attribute)) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    *value = kernel->info->max_threads;
    break;
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    *value = int(kernel->module->static_shared);
    break;
  case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
  case CU_FUNC_ATTRIBUTE_PTX_VERSION:
  case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = 90; break;
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    *value = kernel->dynamic_shared - int(kernel->module->static_shared);
    break;
  default:
    NEED(attribute >= 0 && attribute < 16);
    *value = 0;
  }
  return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction handle,
                                CUfunction_attribute attribute, int value) {
  BEGIN();
  HANDLE(kernel, kernel_of(handle));
  if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
    return value >= -1 && value <= 100 ? CUDA_SUCCESS
                                       : CUDA_ERROR_INVALID_VALUE;
  NEED(attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  int with_static = value + int(kernel->module->static_shared);
  NEED(value >= 0 && with_static <= SHARED_OPTIN);
  kernel->dynamic_shared = with_static;
  return CUDA_SUCCESS;
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks,
                                                         CUfunction handle,
                                                         int threads,
                                                         size_t shared) {
  BEGIN();
  NEED(blocks && threads > 0);
  HANDLE(kernel, kernel_of(handle));
  size_t each = shared + kernel->module->static_shared + 1024;
  int by_threads = 2048 / threads, by_shared = int(228 * 1024 / each);
  *blocks = std::min(32, std::min(by_threads, by_shared));
  if (threads > kernel->info->max_threads) *blocks = 0;
  return CUDA_SUCCESS;
}

API CUresult cuLaunchKernel(CUfunction handle, unsigned int grid_x,
                            unsigned int grid_y, unsigned int grid_z,
                            unsigned int block_x, unsigned int block_y,
                            unsigned int block_z, unsigned int shared,
                            CUstream in, void **params, void **extra) {
  BEGIN_WORK();
  HANDLE(kernel, kernel_of(handle));
  HANDLE(stream, stream_of(in));
  if (int s = stream_ready(stream)) return result(s);
  int device = stream_ordinal(stream);
  if (kernel->module->device != device || device != current_device()) {
    violation("cuLaunchKernel: kernel %s of device %d on a stream of device %d "
              "with device %d current",
              kernel->info->name, kernel->module->device, device,
              current_device());
    return CUDA_ERROR_INVALID_HANDLE;
  }
  unsigned grid[] = {grid_x, grid_y, grid_z};
  unsigned block[] = {block_x, block_y, block_z};
  Work work;
  if (int s = launch_make(kernel, grid, block, shared, params, extra,
                          &work.launch))
    return result(s);
  check_arguments(*work.launch, device);
  work.what = kernel->info->name;
  submit(stream, std::move(work));
  return CUDA_SUCCESS;
}
