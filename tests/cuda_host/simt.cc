// Runs compiled kernels: all threads of a block in a plain loop, or, where they
// wait for each other, each on a stack of its own.
#include "core.h"
#include "simt_state.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <sys/mman.h>

__thread DecafSimt decaf_simt
    __attribute__((tls_model("initial-exec"), visibility("default")));

namespace host {

namespace {

// ---- illegal accesses
thread_local sigjmp_buf escape;
thread_local volatile bool guarding = false;
thread_local void *fault_address;
thread_local int fault_signal;
thread_local char fault_text[200]; // of a check in the kernel itself
struct sigaction before_segv, before_fpe;

void on_fault(int number, siginfo_t *info, void *context) {
  if (guarding) {
    fault_address = info->si_addr;
    fault_signal = number;
    siglongjmp(escape, 1);
  }
  // Not ours: V8 and Deno have handlers of their own.
  struct sigaction &before = number == SIGSEGV ? before_segv : before_fpe;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else {
    sigaction(number, &before, nullptr);
  }
}

// Handlers run on a stack of their own: a fault may be on that of a fiber.
struct SignalStack {
  static constexpr size_t SIZE = 1 << 16;
  void *area = mmap(nullptr, SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SignalStack() {
    stack_t alternative{};
    alternative.ss_sp = area;
    alternative.ss_size = SIZE;
    sigaltstack(&alternative, nullptr);
  }
  ~SignalStack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    munmap(area, SIZE);
  }
};

void catch_faults() {
  static bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &before_segv);
    sigaction(SIGFPE, &action, &before_fpe);
    return true;
  }();
  (void)installed;
  thread_local SignalStack stack;
  (void)stack;
}

// ---- fibers
constexpr size_t STACK = 128 * 1024;

// Saves the registers that a call preserves, changes stacks.
extern "C" void decaf_switch(void **from, void *to);
#if defined(__x86_64__)
asm(R"(
.text
.globl decaf_switch
.hidden decaf_switch
.type decaf_switch,@function
decaf_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size decaf_switch,.-decaf_switch
)");
constexpr size_t SAVED = 6, RETURN = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.globl decaf_switch
.hidden decaf_switch
.type decaf_switch,%function
decaf_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size decaf_switch,.-decaf_switch
)");
constexpr size_t SAVED = 20, RETURN = 11;
#else
#error "no context switch for this processor"
#endif

enum class Where : char { Ready, Barrier, Warp, Done };

struct Fiber {
  char *stack = nullptr;
  void *top = nullptr;
  unsigned index;
  unsigned x, y, z;
  Where where;
  int line;
  // What a warp operation brings and takes away.
  unsigned mask;
  int kind, lane, width;
  unsigned long long value;
};

// The fibers of the block that this thread runs, and its shared memory.
struct Team {
  ~Team();
  char *area = nullptr;
  std::vector<Fiber> fibers;
  unsigned count = 0, waiting = 0, done = 0;
  bool moved;
  Fiber *now = nullptr;
  void *main = nullptr;
  const KernelInfo *kernel;
  void **args;
  int votes;
};
thread_local Team *team = nullptr;

void leave(Where where) {
  Fiber *fiber = team->now;
  fiber->where = where;
  decaf_switch(&fiber->top, team->main);
}

void fiber_main() {
  team->kernel->run_thread(team->args);
  team->done++;
  team->moved = true;
  leave(Where::Done);
  __builtin_unreachable();
}

void fiber_reset(Fiber &fiber, unsigned index) {
  if (fiber.stack == nullptr) {
    char *area = static_cast<char *>(
        mmap(nullptr, STACK + 4096, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    mprotect(area, 4096, PROT_NONE);
    fiber.stack = area + 4096;
  }
  // Stacks that start at different offsets do not fight for the same lines of
  // the cache.
  char *end = fiber.stack + STACK - (index * 320) % 8192;
  auto **frame = reinterpret_cast<void **>(
      (reinterpret_cast<uintptr_t>(end) & ~uintptr_t(15)) -
      (SAVED + 2 + (SAVED & 1)) * sizeof(void *));
  memset(frame, 0, SAVED * sizeof(void *));
  frame[RETURN] = reinterpret_cast<void *>(fiber_main);
  fiber.top = frame;
  fiber.index = index;
  fiber.where = Where::Ready;
}

// Which threads wait where, for the report of a block that cannot go on.
std::string standing(const Team &t) {
  std::string text;
  for (unsigned i = 0; i < t.count;) {
    auto state = [&](unsigned k) {
      const Fiber &f = t.fibers[k];
      char line[96];
      if (f.where == Where::Done)
        snprintf(line, sizeof line, "have ended");
      else if (f.where == Where::Barrier)
        snprintf(line, sizeof line, "wait at the barrier of line %d", f.line);
      else
        snprintf(line, sizeof line, "wait in the warp operation of line %d "
                                    "(mask %08x)", f.line, f.mask);
      return std::string(line);
    };
    std::string first = state(i);
    unsigned end = i + 1;
    while (end < t.count && state(end) == first) end++;
    if (text.size() < 600) {
      if (!text.empty()) text += ", ";
      text += "threads " + std::to_string(i) + "–" + std::to_string(end - 1) +
              " " + first;
    }
    i = end;
  }
  return text;
}

// False when the threads of the block wait for each other in vain.
bool run_fibers(Team &t, unsigned count) {
  t.count = count;
  t.waiting = t.done = 0;
  while (t.fibers.size() < count) t.fibers.emplace_back();
  DecafSimt &simt = decaf_simt;
  unsigned i = 0;
  for (unsigned z = 0; z < simt.block_dim.z; z++)
    for (unsigned y = 0; y < simt.block_dim.y; y++)
      for (unsigned x = 0; x < simt.block_dim.x; x++, i++) {
        fiber_reset(t.fibers[i], i);
        t.fibers[i].x = x;
        t.fibers[i].y = y;
        t.fibers[i].z = z;
      }
  while (t.done < count) {
    t.moved = false;
    for (i = 0; i < count; i++) {
      Fiber &fiber = t.fibers[i];
      if (fiber.where != Where::Ready) continue;
      t.moved = true;
      t.now = &fiber;
      simt.thread = {fiber.x, fiber.y, fiber.z};
      decaf_switch(&t.main, fiber.top);
    }
    if (!t.moved) {
      violation("kernel %s, block (%u, %u, %u): the threads wait for each other "
                "in vain: %s",
                t.kernel->name, simt.block.x, simt.block.y, simt.block.z,
                standing(t).c_str());
      return false;
    }
  }
  return true;
}

void barrier(int line, int vote) {
  Team &t = *team;
  if (t.waiting == 0) t.votes = 0;
  t.votes += vote != 0;
  t.now->line = line;
  if (++t.waiting < t.count) {
    leave(Where::Barrier);
    return;
  }
  for (unsigned i = 0; i < t.count; i++) {
    if (t.fibers[i].line != line) {
      violation("kernel %s: threads of one block wait at different barriers, "
                "of lines %d and %d",
                t.kernel->name, t.fibers[i].line, line);
      lose_device(current_device(), LAUNCH_FAILURE);
      break;
    }
    t.fibers[i].where = Where::Ready;
  }
  for (unsigned i = 0; i < t.count; i++) t.fibers[i].where = Where::Ready;
  t.waiting = 0;
}

// The last lane to arrive works the operation out for all.
void finish_warp(Fiber *lanes, unsigned mask, int kind) {
  unsigned long long in[32], all_and = ~0ull;
  unsigned ballot = 0;
  long long sum = 0, least = 0, most = 0;
  bool first = true;
  for (int i = 0; i < 32; i++) {
    if (!(mask >> i & 1)) continue;
    in[i] = lanes[i].value;
    if (in[i] != 0) ballot |= 1u << i;
    all_and &= in[i];
    auto v = static_cast<long long>(in[i]);
    sum += v;
    least = first || v < least ? v : least;
    most = first || v > most ? v : most;
    first = false;
  }
  for (int i = 0; i < 32; i++) {
    if (!(mask >> i & 1)) continue;
    Fiber &f = lanes[i];
    int base = i & ~(f.width - 1), from = i;
    switch (kind) {
    case DECAF_SHUFFLE: from = base | (f.lane & (f.width - 1)); break;
    case DECAF_SHUFFLE_XOR:
      from = i ^ f.lane;
      if (from >= base + f.width) from = i;
      break;
    case DECAF_SHUFFLE_UP: from = i - f.lane < base ? i : i - f.lane; break;
    case DECAF_SHUFFLE_DOWN:
      from = i + f.lane >= base + f.width ? i : i + f.lane;
      break;
    case DECAF_BALLOT: f.value = ballot; continue;
    case DECAF_ALL: f.value = ballot == mask; continue;
    case DECAF_ANY: f.value = ballot != 0; continue;
    case DECAF_SUM: f.value = static_cast<unsigned long long>(sum); continue;
    case DECAF_MIN: f.value = static_cast<unsigned long long>(least); continue;
    case DECAF_MAX: f.value = static_cast<unsigned long long>(most); continue;
    case DECAF_AND: f.value = all_and; continue;
    case DECAF_OR:
    case DECAF_XOR: {
      unsigned long long folded = 0;
      for (int k = 0; k < 32; k++)
        if (mask >> k & 1)
          folded = kind == DECAF_OR ? folded | in[k] : folded ^ in[k];
      f.value = folded;
      continue;
    }
    case DECAF_MATCH: {
      unsigned same = 0;
      for (int k = 0; k < 32; k++)
        if ((mask >> k & 1) && in[k] == in[i]) same |= 1u << k;
      f.value = same;
      continue;
    }
    default: continue; // DECAF_SYNC
    }
    if (!(mask >> from & 1)) {
      violation("kernel %s, line %d: lane %d reads lane %d, which is not in the "
                "mask %08x",
                team->kernel->name, f.line, i, from, mask);
      from = i;
    }
    f.value = in[from];
  }
}

void warp(Fiber &self) {
  Team &t = *team;
  unsigned first = self.index & ~31u, lane = self.index & 31;
  unsigned present = t.count - first >= 32 ? ~0u : (1u << (t.count - first)) - 1;
  if (!(self.mask >> lane & 1)) {
    violation("kernel %s, line %d: lane %u calls with a mask, %08x, that lacks "
              "it",
              t.kernel->name, self.line, lane, self.mask);
    return;
  }
  // A full mask in the last warp of an odd block means those that are there.
  unsigned mask = self.mask == ~0u ? present : self.mask;
  Fiber *lanes = &t.fibers[first];
  self.where = Where::Warp;
  for (unsigned i = 0; i < 32; i++) {
    if (!(mask >> i & 1)) continue;
    if (!(present >> i & 1) || lanes[i].where != Where::Warp ||
        lanes[i].mask != self.mask || lanes[i].kind != self.kind ||
        lanes[i].line != self.line) {
      leave(Where::Warp);
      return;
    }
  }
  finish_warp(lanes, mask, self.kind);
  for (unsigned i = 0; i < 32; i++)
    if (mask >> i & 1) lanes[i].where = Where::Ready;
}

// Dynamic shared memory ends at a page that cannot be touched.
constexpr size_t AREA = (SHARED_OPTIN + 4095) / 4096 * 4096;
char *shared_area(char *&area, unsigned bytes) {
  if (area == nullptr) {
    area = static_cast<char *>(mmap(nullptr, AREA + 4096,
                                    PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(area + AREA, 4096, PROT_NONE);
  }
  return area + AREA - (size_t(bytes) + 15) / 16 * 16;
}

Team::~Team() {
  for (auto &fiber : fibers)
    if (fiber.stack != nullptr) munmap(fiber.stack - 4096, STACK + 4096);
  if (area != nullptr) munmap(area, AREA + 4096);
}

thread_local std::mutex *running = nullptr;

bool run_blocks(const Launch &launch, void **args) {
  const KernelInfo *info = launch.kernel->info;
  Module *module = launch.kernel->module;
  DecafSimt &simt = decaf_simt;
  simt.grid_dim = {launch.grid[0], launch.grid[1], launch.grid[2]};
  simt.block_dim = {launch.block[0], launch.block[1], launch.block[2]};
  thread_local Team own;
  char *shared = shared_area(own.area, launch.shared);
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

void guarded(int device, const char *what, const std::function<void()> &work) {
  catch_faults();
  bool outer = guarding;
  sigjmp_buf outer_escape;
  if (outer) memcpy(outer_escape, escape, sizeof escape);
  int fault = sigsetjmp(escape, 0);
  if (fault == 0) {
    guarding = true;
    work();
  }
  guarding = outer;
  if (outer) memcpy(escape, outer_escape, sizeof escape);
  if (fault == 0) return;
  if (running != nullptr) running->unlock();
  running = nullptr;
  if (fault == 2)
    violation("%s on device %d: %s", what, device, fault_text);
  else if (fault_signal == SIGFPE)
    violation("%s on device %d: integer division by zero, or of the lowest "
              "number by -1", what, device);
  else
    violation("%s on device %d: illegal access at %p: %s", what, device,
              fault_address, describe(fault_address).c_str());
  lose_device(device, fault == 2 ? MISALIGNED_ADDRESS : ILLEGAL_ADDRESS);
}

void launch_run(const Launch &launch, int device) {
  const KernelInfo *info = launch.kernel->info;
  void *args[256];
  for (size_t i = 0; i < launch.offsets.size(); i++)
    args[i] = const_cast<char *>(launch.params.data()) + launch.offsets[i];
  guarded(device, info->name, [&] {
    running = launch.kernel->module->running;
    running->lock();
    bool good = run_blocks(launch, args);
    running->unlock();
    running = nullptr;
    if (!good) lose_device(device, LAUNCH_FAILURE);
  });
  check_argument_guards(launch.params.data(), launch.params.size(), info->name);
}

bool check_launch(const Launch &launch, int device) {
  return check_arguments(launch.params.data(), launch.params.size(), device,
                         launch.kernel->info->name);
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

// What the compiler's own checks of a kernel call (-fsanitize=alignment,bounds);
// the layouts are those of its runtime library.
extern "C" {
struct DecafPlace {
  const char *file;
  unsigned line, column;
};
struct DecafType {
  unsigned short kind, info;
  char name[1];
};
struct DecafMismatch {
  DecafPlace place;
  DecafType *type;
  unsigned char log_alignment, kind;
};
struct DecafBounds {
  DecafPlace place;
  DecafType *array, *index;
};
#define CHECK extern "C" __attribute__((visibility("default"), noreturn))
CHECK void __ubsan_handle_type_mismatch_v1_abort(DecafMismatch *m,
                                                 uintptr_t address) {
  snprintf(host::fault_text, sizeof host::fault_text,
           "%s:%u:%u: misaligned access to %s at 0x%zx: %u bytes needed",
           m->place.file, m->place.line, m->place.column, m->type->name,
           size_t(address), 1u << m->log_alignment);
  siglongjmp(host::escape, 2);
}
CHECK void __ubsan_handle_out_of_bounds_abort(DecafBounds *b, uintptr_t index) {
  snprintf(host::fault_text, sizeof host::fault_text,
           "%s:%u:%u: index %zd is outside the array %s", b->place.file,
           b->place.line, b->place.column, ssize_t(index), b->array->name);
  siglongjmp(host::escape, 2);
}
}

extern "C" {
void decaf_sync(int line) { host::barrier(line, 0); }
int decaf_sync_count(int line, int vote) {
  host::barrier(line, vote);
  return host::team->votes;
}
unsigned long long decaf_warp(unsigned mask, unsigned long long value, int kind,
                              int lane, int width, int line) {
  host::Fiber &self = *host::team->now;
  self.mask = mask;
  self.value = value;
  self.kind = kind;
  self.lane = lane;
  self.width = width;
  self.line = line;
  host::warp(self);
  return self.value;
}
}
