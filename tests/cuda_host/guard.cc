// Illegal accesses: of a kernel or of a library's loops, they lose the device
// and not the process.
#include "core.h"

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

namespace host {

namespace {

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

thread_local std::mutex *held_mutex = nullptr;

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
  if (held_mutex != nullptr) held_mutex->unlock();
  held_mutex = nullptr;
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

void hold_guarded(std::mutex *mutex) {
  mutex->lock();
  held_mutex = mutex;
}
void let_go_guarded() {
  held_mutex->unlock();
  held_mutex = nullptr;
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
