// Each thread of a block on a stack of its own.
#include "fibers.h"
#include "simt_state.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

namespace host {

thread_local Team *team = nullptr;

namespace {

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

} // namespace

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
  // Without a barrier there is no order to rely on. Here later warps run before
  // earlier ones, and in every other block the lanes of a warp run backwards.
  bool backwards = ((simt.block.x + simt.block.y + simt.block.z) & 1) != 0;
  unsigned warps = (count + 31) / 32;
  while (t.done < count) {
    t.moved = false;
    for (i = 0; i < 32 * warps; i++) {
      unsigned warp = backwards ? i / 32 : warps - 1 - i / 32;
      unsigned at = 32 * warp + (backwards ? 31 - i % 32 : i % 32);
      if (at >= count) continue;
      Fiber &fiber = t.fibers[at];
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

int barrier(int line, bool vote) {
  Team &t = *team;
  Fiber *self = t.now;
  if (t.waiting == 0) t.votes = 0;
  t.votes += vote;
  self->line = line;
  if (++t.waiting < t.count) {
    leave(Where::Barrier);
    return int(self->value);
  }
  for (unsigned i = 0; i < t.count; i++) {
    if (t.fibers[i].line != line) {
      violation("kernel %s: threads of one block wait at different barriers, "
                "of lines %d and %d",
                t.kernel->name, std::min(t.fibers[i].line, line),
                std::max(t.fibers[i].line, line));
      lose_device(current_device(), LAUNCH_FAILURE);
      break;
    }
  }
  for (unsigned i = 0; i < t.count; i++) {
    t.fibers[i].where = Where::Ready;
    t.fibers[i].value = unsigned(t.votes);
  }
  t.waiting = 0;
  return t.votes;
}

namespace {
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
} // namespace

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

Team::~Team() {
  for (auto &fiber : fibers)
    if (fiber.stack != nullptr) munmap(fiber.stack - 4096, STACK + 4096);
  if (area != nullptr) munmap(area, area_bytes);
}

} // namespace host

extern "C" {
void decaf_sync(int line) { host::barrier(line, false); }
int decaf_sync_count(int line, int vote) {
  return host::barrier(line, vote != 0);
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
