// Blocks of device and pinned memory.
//
// Every device owns a range of addresses, so that an address alone tells its
// device. A block lies between guard zones; a large one ends at a page that
// cannot be touched. A freed block is poisoned when its stream reaches the
// free, rests, and is looked through for late writes before it is used again.
#include "memory.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

namespace host {

namespace {
constexpr size_t PAGE = 4096, SMALL = 32 * 1024, CHUNK = 256 * 1024;
constexpr size_t REST = size_t(64) << 20;  // bytes that rest after their free
constexpr size_t WARM = size_t(256) << 20; // free bytes that stay mapped
constexpr unsigned char POISON = 0xff, ZONE = 0xa5;
constexpr size_t POISONED = size_t(64) << 20; // of a block: its beginning
} // namespace

Memory::Memory() {
  // Addresses only, and fewer where the process may not have so many.
  for (void *area;; arena_bytes /= 4) {
    area = mmap(nullptr, arena_bytes * (MAX_DEVICES + 1), PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    begin = static_cast<char *>(area);
    if (area != MAP_FAILED) break;
    if (arena_bytes < size_t(1) << 28) {
      fprintf(stderr, "cuda_host: cannot reserve addresses\n");
      abort();
    }
  }
  for (int i = 0; i <= MAX_DEVICES; i++)
    arenas[i].begin = begin + arena_bytes * i;
  for (int i = 0; i < MAX_DEVICES; i++) {
    devices[i].pool.device = i;
    devices[i].current = &devices[i].pool;
    devices[i].pools.push_back(&devices[i].pool);
  }
}

Memory &memory() {
  static auto *m = new Memory;
  return *m;
}

size_t up(size_t n, size_t to) { return (n + to - 1) / to * to; }

int arena_of(const void *p) {
  auto at = static_cast<const char *>(p);
  const Memory &m = memory();
  if (at < m.begin || at >= m.begin + m.arena_bytes * (MAX_DEVICES + 1))
    return -1;
  return int(size_t(at - m.begin) / m.arena_bytes);
}

// The block at or before an address, dead or alive.
Block *nearest(const void *p) {
  auto &blocks = memory().blocks;
  auto it = blocks.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (it == blocks.begin()) return nullptr;
  Block *block = (--it)->second;
  return arena_of(block->base) == arena_of(p) ? block : nullptr;
}

namespace {
// Guard bytes before and after a block.
void zones(const Block &b, char *&front, size_t &front_bytes, char *&back,
           size_t &back_bytes) {
  front_bytes = GUARD;
  front = b.base - GUARD;
  back = b.base + b.bytes;
  back_bytes = up(b.bytes, GUARD) - b.bytes;
  if (b.slot_bytes <= SMALL) back_bytes += GUARD;
}

size_t first_difference(const char *p, size_t n, unsigned char value) {
  size_t i = 0;
  uint64_t word;
  memset(&word, value, 8);
  for (; i + 8 <= n; i += 8) {
    uint64_t have;
    memcpy(&have, p + i, 8);
    if (have != word) break;
  }
  for (; i < n; i++)
    if (static_cast<unsigned char>(p[i]) != value) return i;
  return n;
}
} // namespace

const char *owner(int device, char text[32]) {
  if (device == HOST_ARENA) return "pinned memory";
  snprintf(text, 32, "device %d", device);
  return text;
}

// Violated guard zones are repaired, so that each overrun is told once.
void check_zones(Block &b, const char *when) {
  char *front, *back, name[32];
  size_t front_bytes, back_bytes;
  zones(b, front, front_bytes, back, back_bytes);
  size_t at = first_difference(front, front_bytes, ZONE);
  if (at < front_bytes) {
    violation("%s: written %zu bytes before a block of %zu bytes on %s", when,
              front_bytes - at, b.bytes, owner(b.device, name));
    memset(front, ZONE, front_bytes);
  }
  at = first_difference(back, back_bytes, ZONE);
  if (at < back_bytes) {
    violation("%s: written %zu bytes past a block of %zu bytes on %s", when,
              at, b.bytes, owner(b.device, name));
    memset(back, ZONE, back_bytes);
  }
}

namespace {
void check_poison(const Block &b) {
  char name[32];
  size_t bytes = std::min(b.bytes, POISONED);
  size_t at = first_difference(b.base, bytes, POISON);
  if (at < bytes)
    violation("a block of %zu bytes on %s was written after its free, at byte "
              "%zu",
              b.bytes, owner(b.device, name), at);
}
} // namespace

void poison(const Block &b) {
  memset(b.base, POISON, std::min(b.bytes, POISONED));
}

// Takes the oldest resting blocks into use again.
void retire(Arena &arena, size_t keep) {
  while (arena.resting_bytes > keep) {
    Block *b = arena.resting.front();
    arena.resting.pop_front();
    arena.resting_bytes -= b->slot_bytes;
    check_poison(*b);
    memory().blocks.erase(reinterpret_cast<uintptr_t>(b->base));
    if (b->slot_bytes <= SMALL || arena.warm_bytes + b->slot_bytes <= WARM) {
      arena.warm[b->slot_bytes].push_back(b->slot);
      if (b->slot_bytes > SMALL) arena.warm_bytes += b->slot_bytes;
    } else {
      size_t mapped = b->slot_bytes - PAGE;
      madvise(b->slot, mapped, MADV_DONTNEED);
      mprotect(b->slot, mapped, PROT_NONE);
      arena.cold[b->slot_bytes].push_back(b->slot);
    }
    delete b;
  }
}

namespace {
char *take(std::map<size_t, std::deque<char *>> &slots, size_t bytes) {
  auto found = slots.find(bytes);
  if (found == slots.end() || found->second.empty()) return nullptr;
  char *slot = found->second.front();
  found->second.pop_front();
  return slot;
}

char *take_slot(Arena &arena, size_t bytes) {
  bool small = bytes <= SMALL;
  if (char *slot = take(arena.warm, bytes)) {
    if (!small) arena.warm_bytes -= bytes;
    return slot;
  }
  if (small && arena.chunk_left >= bytes) {
    char *slot = arena.chunk;
    arena.chunk += bytes;
    arena.chunk_left -= bytes;
    return slot;
  }
  char *slot = small ? nullptr : take(arena.cold, bytes);
  size_t span = small ? CHUNK + PAGE : bytes;
  if (slot == nullptr) {
    if (arena.bump + span > memory().arena_bytes / 2) return nullptr;
    slot = arena.begin + arena.bump;
    arena.bump += span;
  }
  if (mprotect(slot, span - PAGE, PROT_READ | PROT_WRITE) != 0) return nullptr;
  if (!small) return slot;
  arena.chunk = slot + bytes;
  arena.chunk_left = CHUNK - bytes;
  return slot;
}
} // namespace

Block *block_make(int device, size_t bytes, Pool *pool) {
  size_t data = up(bytes, GUARD);
  bool small = data + 2 * GUARD <= SMALL;
  size_t slot_bytes = small ? data + 2 * GUARD : up(data + GUARD, PAGE) + PAGE;
  char *slot = take_slot(memory().arenas[device], slot_bytes);
  if (slot == nullptr) return nullptr;
  char *base = small ? slot + GUARD : slot + slot_bytes - PAGE - data;
  auto *b = new Block{base, bytes, slot, slot_bytes, device, pool};
  char *front, *back;
  size_t front_bytes, back_bytes;
  zones(*b, front, front_bytes, back, back_bytes);
  memset(front, ZONE, front_bytes);
  memset(back, ZONE, back_bytes);
  memory().blocks[reinterpret_cast<uintptr_t>(base)] = b;
  return b;
}

// The stream has reached the free.
void bury(Block *b) {
  std::unique_lock lock(memory().mutex);
  check_zones(*b, "at a free");
  poison(*b);
  b->state = State::Dead;
  Arena &arena = memory().arenas[b->device];
  arena.resting.push_back(b);
  arena.resting_bytes += b->slot_bytes;
  retire(arena, REST);
}

} // namespace host
