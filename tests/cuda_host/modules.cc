// Kernel files: what the NVRTC stand-in made, loaded.
#include "core.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace host {

// The image: magic, bytes in all, architecture, checksum of what follows, path.
struct ImageHead {
  char magic[8];
  uint32_t bytes, arch;
  uint64_t checksum;
};

std::string image_make(const std::string &path, int arch) {
  ImageHead head;
  memcpy(head.magic, IMAGE_MAGIC, 8);
  head.bytes = uint32_t(sizeof head + path.size() + 1);
  head.arch = uint32_t(arch);
  head.checksum = hash64(path.c_str(), path.size() + 1, head.arch);
  return std::string(reinterpret_cast<char *>(&head), sizeof head) +
         std::string(path.c_str(), path.size() + 1);
}

namespace {
// Libraries that were opened, once each, with what runs of them excludes.
struct Opened {
  std::mutex running;
};
std::map<void *, Opened> &opened() {
  static auto *m = new std::map<void *, Opened>;
  return *m;
}
} // namespace

int module_load(const char *image, int device, Module **out) {
  ImageHead head;
  memcpy(&head, image, sizeof head);
  if (memcmp(head.magic, IMAGE_MAGIC, 8) != 0 || head.bytes > 8192 ||
      head.bytes <= sizeof head)
    return INVALID_IMAGE;
  const char *path = image + sizeof head;
  size_t length = head.bytes - sizeof head;
  if (hash64(path, length, head.arch) != head.checksum) return INVALID_IMAGE;
  // Machine code runs on its own major version, and not on an older minor one.
  bool portable = head.arch >= unsigned(PTX_IMAGE);
  unsigned arch = portable ? head.arch - PTX_IMAGE : head.arch;
  if (arch > 90 || (!portable && arch != 90)) return NO_BINARY;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    fprintf(stderr, "cuda_host: %s\n", dlerror());
    return INVALID_IMAGE;
  }
  auto *module = new Module;
  module->path = path;
  module->library = library;
  module->device = device;
  auto range = reinterpret_cast<void (*)(char **, unsigned *)>(
      dlsym(library, "decaf_shared_range"));
  range(&module->static_begin, &module->static_shared);
  std::lock_guard lock(core_mutex);
  if (opened().count(library)) dlclose(library); // one count is enough
  module->running = &opened()[library].running;
  handle_made("module", module);
  *out = module;
  return OK;
}

// The library stays open until the next reset: work in a stream may still run
// its kernels, and another module may share it.
void module_unload(Module *module) { handle_gone("module", module); }

void modules_close() {
  std::lock_guard lock(core_mutex);
  for (auto &entry : opened()) dlclose(entry.first);
  opened().clear();
}

const KernelInfo *module_find(Module *module, const char *name) {
  auto list = reinterpret_cast<const KernelInfo *(*)(int *)>(
      dlsym(module->library, "decaf_kernels"));
  int count;
  const KernelInfo *kernels = list(&count);
  for (int i = 0; i < count; i++)
    if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
  return nullptr;
}

const std::string &home() {
  static auto *folder = [] {
    Dl_info info;
    dladdr(reinterpret_cast<void *>(module_load), &info);
    auto *path = new std::string(info.dli_fname);
    path->resize(path->rfind('/'));
    return path;
  }();
  return *folder;
}

} // namespace host
