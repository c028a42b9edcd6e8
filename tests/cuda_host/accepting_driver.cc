// A libcuda that takes every module for good and has no device. cuDNN compiles
// the kernels of its fused engines when a plan is finalized and hands them to
// the driver; with this one, plans for GPUs that are described and not present
// go all the way.
extern "C" {

enum { success = 0, no_device = 100 };

#define ACCEPTS(name) int name() { return success; }
#define NO_DEVICE(name) int name() { return no_device; }

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return success;
}
int cuGetErrorName(int, const char **text) {
  *text = "none";
  return success;
}
int cuGetErrorString(int, const char **text) {
  *text = "none";
  return success;
}
int cuLibraryLoadData(void **library, const void *, void *, void *, unsigned,
                      void *, void *, unsigned) {
  *library = reinterpret_cast<void *>(8);
  return success;
}
int cuLibraryGetKernel(void **kernel, void *, const char *) {
  *kernel = reinterpret_cast<void *>(8);
  return success;
}
ACCEPTS(cuLibraryUnload)
ACCEPTS(cuKernelSetAttribute)
ACCEPTS(cuKernelGetAttribute)
ACCEPTS(cuFuncSetAttribute)
ACCEPTS(cuFuncGetAttribute)
NO_DEVICE(cuInit)
NO_DEVICE(cuCtxGetCurrent)
NO_DEVICE(cuCtxGetLimit)
NO_DEVICE(cuCtxPopCurrent)
NO_DEVICE(cuCtxPushCurrent)
NO_DEVICE(cuDeviceGet)
NO_DEVICE(cuDeviceGetCount)
NO_DEVICE(cuKernelGetFunction)
NO_DEVICE(cuLaunchCooperativeKernel)
NO_DEVICE(cuLaunchKernel)
NO_DEVICE(cuLaunchKernelEx)
NO_DEVICE(cuLibraryLoadFromFile)
NO_DEVICE(cuLinkAddData)
NO_DEVICE(cuLinkComplete)
NO_DEVICE(cuLinkCreate)
NO_DEVICE(cuLinkDestroy)
NO_DEVICE(cuOccupancyMaxPotentialClusterSize)
NO_DEVICE(cuStreamGetCtx)
}
