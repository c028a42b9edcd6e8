// Runs compiled kernels: all threads of a block in a plain loop, or, where they
// wait for each other, each on a stack of its own.
#include "fibers.h"
#include "simt_state.h"

#include <cstring>
#include <sys/mman.h>

__thread DecafSimt decaf_simt
    __attribute__((tls_model("initial-exec"), visibility("default")));

namespace host {

namespace {

// Dynamic shared memory ends at a page that cannot be touched.
char *shared_area(Team &own, unsigned bytes) {
  constexpr size_t AREA = (SHARED_OPTIN + 4095) / 4096 * 4096;
  if (own.area == nullptr) {
    own.area_bytes = AREA + 4096;
    own.area = static_cast<char *>(
        mmap(nullptr, own.area_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(own.area + AREA, 4096, PROT_NONE);
  }
  return own.area + AREA - (size_t(bytes) + 15) / 16 * 16;
}

bool run_blocks(const Launch &launch, void **args) {
  const KernelInfo *info = launch.kernel->info;
  Module *module = launch.kernel->module;
  DecafSimt &simt = decaf_simt;
  simt.grid_dim = {launch.grid[0], launch.grid[1], launch.grid[2]};
  simt.block_dim = {launch.block[0], launch.block[1], launch.block[2]};
  thread_local Team own;
  char *shared = shared_area(own, launch.shared);
  simt.shared = shared;
  if (info->barriers) {
    team = &own;
    own.kernel = info;
    own.args = args;
  }
  unsigned threads = launch.block[0] * launch.block[1] * launch.block[2];
  // Blocks have no order that a kernel could rely on: here the last is first.
  for (unsigned z = launch.grid[2]; z-- > 0;)
    for (unsigned y = launch.grid[1]; y-- > 0;)
      for (unsigned x = launch.grid[0]; x-- > 0;) {
        simt.block = {x, y, z};
        if (launch.shared > 0) memset(shared, 0xff, launch.shared);
        if (module->static_shared > 0)
          memset(module->static_begin, 0xff, module->static_shared);
        if (!info->barriers)
          info->run_block(args);
        else if (!run_fibers(own, threads))
          return false;
      }
  return true;
}

} // namespace

void launch_run(const Launch &launch, int device) {
  const KernelInfo *info = launch.kernel->info;
  void *args[256];
  for (size_t i = 0; i < launch.offsets.size(); i++)
    args[i] = const_cast<char *>(launch.params.data()) + launch.offsets[i];
  guarded(device, info->name, [&] {
    hold_guarded(launch.kernel->module->running);
    bool good = run_blocks(launch, args);
    let_go_guarded();
    if (!good) lose_device(device, LAUNCH_FAILURE);
  });
  check_argument_guards(launch);
}

int launch_make(Kernel *kernel, const unsigned grid[3], const unsigned block[3],
                unsigned shared, void **params, void **extra,
                std::shared_ptr<const Launch> *out) {
  const KernelInfo *info = kernel->info;
  auto launch = std::make_shared<Launch>();
  launch->kernel = kernel;
  launch->shared = shared;
  uint64_t threads = 1;
  constexpr unsigned grids[] = {0x7fffffff, 65535, 65535};
  constexpr unsigned blocks[] = {1024, 1024, 64};
  for (int i = 0; i < 3; i++) {
    launch->grid[i] = grid[i];
    launch->block[i] = block[i];
    threads *= block[i];
    if (grid[i] == 0 || grid[i] > grids[i] || block[i] == 0 ||
        block[i] > blocks[i])
      return INVALID_VALUE;
  }
  if (threads > unsigned(info->max_threads)) return INVALID_VALUE;
  if (shared + kernel->module->static_shared > unsigned(kernel->dynamic_shared))
    return INVALID_VALUE;
  size_t end = 0;
  for (int i = 0; i < info->count; i++) {
    size_t a = info->alignments[i];
    end = (end + a - 1) / a * a;
    launch->offsets.push_back(end);
    end += info->sizes[i];
  }
  // What every version of CUDA takes.
  if (end > 4096 || info->count > 256) {
    violation("kernel %s: its parameters take %zu bytes, and 4096 is the most",
              info->name, end);
    return INVALID_VALUE;
  }
  launch->params.resize(end);
  for (int i = 0; i < info->pointer_count; i++) {
    const unsigned *triple = info->pointers + 3 * i;
    for (unsigned k = 0; k < triple[2]; k++)
      launch->pointers.push_back(launch->offsets[triple[0]] + triple[1] + 8 * k);
  }
  if (params != nullptr && extra != nullptr) return INVALID_VALUE;
  if (params != nullptr) {
    for (int i = 0; i < info->count; i++)
      memcpy(&launch->params[launch->offsets[i]], params[i], info->sizes[i]);
  } else if (info->count > 0) {
    // { 1, buffer, 2, &size, 0 }: CU_LAUNCH_PARAM_BUFFER_POINTER and _SIZE
    const void *buffer = nullptr;
    size_t size = 0;
    for (void **p = extra; p != nullptr && *p != nullptr; p += 2) {
      auto key = reinterpret_cast<uintptr_t>(*p);
      if (key == 1)
        buffer = p[1];
      else if (key == 2)
        size = *static_cast<size_t *>(p[1]);
      else
        return INVALID_VALUE;
    }
    if (buffer == nullptr || size < end) return INVALID_VALUE;
    memcpy(launch->params.data(), buffer, end);
  }
  *out = launch;
  return OK;
}

} // namespace host
