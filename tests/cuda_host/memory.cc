// Device and pinned memory: guard zones, poison, quarantine, lifetimes, pools.
//
// Every device owns a range of addresses, so that an address alone tells its
// device. A block lies between guard zones; a large one ends at a page that
// cannot be touched. A freed block is poisoned when its stream reaches the
// free, rests, and is looked through for late writes before it is used again.
#include "core.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <shared_mutex>
#include <sys/mman.h>

namespace host {

namespace {

constexpr size_t PAGE = 4096, GUARD = 256, SMALL = 32 * 1024,
                 CHUNK = 256 * 1024;
constexpr size_t ARENA = size_t(256) << 30;
constexpr size_t REST = size_t(64) << 20;  // bytes that rest after their free
constexpr size_t WARM = size_t(256) << 20; // free bytes that stay mapped
constexpr unsigned char POISON = 0xff, ZONE = 0xa5;
constexpr size_t POISONED = size_t(64) << 20; // of a block: its beginning
constexpr int HOST_ARENA = MAX_DEVICES;
constexpr size_t NOMINAL = size_t(80) << 30;

enum class State { Live, Freeing, Dead };

struct Block {
  char *base;
  size_t bytes;
  char *slot;
  size_t slot_bytes;
  int device;
  Pool *pool; // null: not from a pool
  bool captured = false;
  State state = State::Live;
};

struct Arena {
  char *begin = nullptr;
  size_t bump = 0;
  char *chunk = nullptr;
  size_t chunk_left = 0;
  std::map<size_t, std::deque<char *>> warm, cold;
  size_t warm_bytes = 0, resting_bytes = 0;
  std::deque<Block *> resting;
};

struct DeviceMemory {
  size_t limit = NOMINAL;
  size_t plain = 0; // bytes of cudaMalloc
  Pool pool, *current = nullptr;
  std::vector<Pool *> pools;
  unsigned peers = 0;
};

struct Memory {
  std::shared_mutex mutex;
  char *begin = nullptr;
  Arena arenas[MAX_DEVICES + 1];
  DeviceMemory devices[MAX_DEVICES];
  std::map<uintptr_t, Block *> blocks;
  std::map<uintptr_t, size_t> registered;
  Memory() {
    begin = static_cast<char *>(mmap(nullptr, ARENA * (MAX_DEVICES + 1),
                                     PROT_NONE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                                     -1, 0));
    if (begin == MAP_FAILED) {
      fprintf(stderr, "cuda_host: cannot reserve addresses\n");
      abort();
    }
    for (int i = 0; i <= MAX_DEVICES; i++) arenas[i].begin = begin + ARENA * i;
    for (int i = 0; i < MAX_DEVICES; i++) {
      devices[i].pool.device = i;
      devices[i].current = &devices[i].pool;
      devices[i].pools.push_back(&devices[i].pool);
    }
  }
};

Memory &memory() {
  static auto *m = new Memory;
  return *m;
}

size_t up(size_t n, size_t to) { return (n + to - 1) / to * to; }

int arena_of(const void *p) {
  auto at = static_cast<const char *>(p);
  char *begin = memory().begin;
  if (at < begin || at >= begin + ARENA * (MAX_DEVICES + 1)) return -1;
  return int(size_t(at - begin) / ARENA);
}

// The block at or before an address, dead or alive.
Block *nearest(const void *p) {
  auto &blocks = memory().blocks;
  auto it = blocks.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (it == blocks.begin()) return nullptr;
  Block *block = (--it)->second;
  return arena_of(block->base) == arena_of(p) ? block : nullptr;
}

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

void check_poison(const Block &b) {
  char name[32];
  size_t bytes = std::min(b.bytes, POISONED);
  size_t at = first_difference(b.base, bytes, POISON);
  if (at < bytes)
    violation("a block of %zu bytes on %s was written after its free, at byte "
              "%zu",
              b.bytes, owner(b.device, name), at);
}

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
    if (arena.bump + span > ARENA / 2) return nullptr;
    slot = arena.begin + arena.bump;
    arena.bump += span;
  }
  if (mprotect(slot, span - PAGE, PROT_READ | PROT_WRITE) != 0) return nullptr;
  if (!small) return slot;
  arena.chunk = slot + bytes;
  arena.chunk_left = CHUNK - bytes;
  return slot;
}

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

size_t granules(size_t bytes) { return up(bytes, 512); }

size_t held_bytes(const DeviceMemory &m) {
  size_t sum = m.plain;
  for (auto *pool : m.pools) sum += pool->reserved;
  return sum;
}

bool charge(int device, size_t bytes, Pool *pool) {
  DeviceMemory &m = memory().devices[device];
  if (pool == nullptr) {
    if (held_bytes(m) + bytes > m.limit) return false;
    m.plain += bytes;
    return true;
  }
  uint64_t used = pool->used + bytes;
  if (used > pool->reserved) {
    if (held_bytes(m) + (used - pool->reserved) > m.limit) return false;
    pool->reserved = used;
  }
  pool->used = used;
  if (pool->used > pool->used_high) pool->used_high = pool->used;
  if (pool->reserved > pool->reserved_high)
    pool->reserved_high = pool->reserved;
  return true;
}

// Instant mode gives addresses out and never takes them back.
char *instant_begin(int device) {
  return memory().arenas[device].begin + ARENA / 2;
}
std::atomic<size_t> instant_bump{0};

bool instant_address(const void *p) {
  int arena = arena_of(p);
  return arena >= 0 && p >= instant_begin(arena);
}

// Why [p, p + bytes) is no live range; empty when it is one.
std::string fault_of(const void *p, size_t bytes) {
  std::shared_lock lock(memory().mutex);
  Block *b = nearest(p);
  auto at = static_cast<const char *>(p);
  if (b != nullptr && b->state == State::Live && at >= b->base &&
      at + bytes <= b->base + b->bytes)
    return "";
  char text[200];
  if (b == nullptr || (at > b->base + b->bytes &&
                       at >= b->slot + b->slot_bytes)) {
    snprintf(text, sizeof text, "%p lies in no block", p);
  } else if (b->state != State::Live) {
    snprintf(text, sizeof text,
             "%p lies %td bytes into a block of %zu bytes that was freed", p,
             at - b->base, b->bytes);
  } else {
    snprintf(text, sizeof text,
             "%zu bytes at %p, %td bytes into a block of %zu bytes, reach %td "
             "bytes past its end",
             bytes, p, at - b->base, b->bytes,
             at + bytes - (b->base + b->bytes));
  }
  return text;
}

} // namespace

bool device_range(const void *p, size_t bytes, const char *what) {
  if (instant()) return true;
  if (bytes == 0 && p == nullptr) return true;
  int arena = arena_of(p);
  if (arena < 0 || arena == HOST_ARENA) {
    violation("%s: %p is no address of a device", what, p);
    return false;
  }
  if (instant_address(p)) return true;
  std::string fault = fault_of(p, bytes);
  if (fault.empty()) return true;
  violation("%s: %s", what, fault.c_str());
  return false;
}

std::string describe(const void *p) {
  int arena = arena_of(p);
  if (arena < 0) return "no address of a device";
  std::string fault = fault_of(p, 1);
  return fault.empty() ? "inside a live block" : fault;
}

int device_of(const void *p) {
  int arena = arena_of(p);
  return arena == HOST_ARENA ? -1 : arena;
}

bool block_of(const void *p, char **base, size_t *bytes) {
  std::shared_lock lock(memory().mutex);
  Block *b = nearest(p);
  if (b == nullptr || b->state != State::Live ||
      static_cast<const char *>(p) >= b->base + b->bytes)
    return false;
  *base = b->base;
  *bytes = b->bytes;
  return true;
}

Place place_of(const void *p) {
  int arena = arena_of(p);
  if (arena >= 0) return arena == HOST_ARENA ? Place::Pinned : Place::Device;
  std::shared_lock lock(memory().mutex);
  auto &registered = memory().registered;
  auto it = registered.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (it == registered.begin()) return Place::Pageable;
  --it;
  return reinterpret_cast<uintptr_t>(p) < it->first + it->second
             ? Place::Pinned
             : Place::Pageable;
}

bool pinned_live(const void *p, size_t bytes) {
  if (arena_of(p) != HOST_ARENA) return true;
  return fault_of(p, bytes).empty();
}

int allocate(int device, size_t bytes, void **out, Stream *stream, Pool *pool) {
  if (instant()) {
    *out = instant_begin(device) +
           instant_bump.fetch_add(up(bytes + 1, 512)) % (ARENA / 2);
    return OK;
  }
  if (bytes == 0) {
    *out = nullptr;
    return OK;
  }
  size_t charged = granules(bytes);
  Block *b;
  {
    std::unique_lock lock(memory().mutex);
    if (!charge(device, charged, pool)) return OUT_OF_MEMORY;
    b = block_make(device, bytes, pool);
    if (b == nullptr) return OUT_OF_MEMORY;
  }
  *out = b->base;
  if (stream == nullptr) {
    poison(*b);
    return OK;
  }
  b->captured = capture_of(stream) != nullptr;
  submit(stream, {"allocation", [b] { poison(*b); }});
  return OK;
}

int release(void *p, Stream *stream, const char *function) {
  if (p == nullptr) return OK;
  if (instant() || instant_address(p)) return OK;
  Block *b;
  bool capturing = stream != nullptr && capture_of(stream) != nullptr;
  {
    std::unique_lock lock(memory().mutex);
    b = nearest(p);
    const char *wrong = nullptr;
    if (b == nullptr || b->base != p || b->device == HOST_ARENA)
      wrong = "is not the start of a block of device memory";
    else if (b->state != State::Live)
      wrong = "was freed before";
    else if (stream != nullptr && b->pool == nullptr)
      wrong = "was not allocated in stream order";
    else if (stream != nullptr && stream_ordinal(stream) != b->device)
      wrong = "belongs to another device than the stream";
    else if (capturing && !b->captured)
      wrong = "is no allocation of the graph that is being captured";
    if (wrong != nullptr) {
      lock.unlock();
      violation("%s: %p %s", function, p, wrong);
      return INVALID_VALUE;
    }
    if (!capturing) {
      b->state = State::Freeing;
      if (b->pool != nullptr)
        b->pool->used -= granules(b->bytes);
      else
        memory().devices[b->device].plain -= granules(b->bytes);
    }
  }
  if (capturing) { // the addresses belong to the graph as long as it lives
    submit(stream, {"free", [b] { poison(*b); }});
    capture_of(stream)->graph->owned.push_back(b->base);
  } else if (stream == nullptr) {
    device_wait(b->device); // as cudaFree does
    bury(b);
  } else {
    submit(stream, {"free", [b] { bury(b); }, nullptr, true});
  }
  return OK;
}

void release_captured(void *p) {
  Block *b;
  {
    std::unique_lock lock(memory().mutex);
    b = nearest(p);
    if (b == nullptr || b->base != p || b->state != State::Live) return;
    b->state = State::Freeing;
    b->pool->used -= granules(b->bytes);
  }
  bury(b);
}

int pin(size_t bytes, void **out) {
  if (bytes == 0) {
    *out = nullptr;
    return OK;
  }
  std::unique_lock lock(memory().mutex);
  Block *b = block_make(HOST_ARENA, bytes, nullptr);
  if (b == nullptr) return OUT_OF_MEMORY;
  poison(*b);
  *out = b->base;
  return OK;
}

int unpin(void *p) {
  if (p == nullptr) return OK;
  Block *b;
  {
    std::unique_lock lock(memory().mutex);
    b = nearest(p);
    bool mine = b != nullptr && b->base == p && b->device == HOST_ARENA;
    if (!mine || b->state != State::Live) {
      lock.unlock();
      violation("cudaFreeHost: %p %s", p,
                mine ? "was freed before" : "is no pinned memory");
      return INVALID_VALUE;
    }
    b->state = State::Freeing;
  }
  bury(b);
  return OK;
}

int register_host(void *p, size_t bytes) {
  if (p == nullptr || bytes == 0) return INVALID_VALUE;
  if (place_of(p) == Place::Pinned) return HOST_REGISTERED;
  std::unique_lock lock(memory().mutex);
  memory().registered[reinterpret_cast<uintptr_t>(p)] = bytes;
  return OK;
}

int unregister_host(void *p) {
  std::unique_lock lock(memory().mutex);
  return memory().registered.erase(reinterpret_cast<uintptr_t>(p)) == 1
             ? OK
             : HOST_NOT_REGISTERED;
}

Pool *default_pool(int device) { return &memory().devices[device].pool; }
Pool *current_pool(int device) { return memory().devices[device].current; }
void set_current_pool(int device, Pool *pool) {
  memory().devices[device].current = pool;
}

Pool *pool_make(int device) {
  std::unique_lock lock(memory().mutex);
  auto *pool = new Pool;
  pool->device = device;
  pool->own = true;
  memory().devices[device].pools.push_back(pool);
  return pool;
}

void pool_drop(Pool *pool) {
  std::unique_lock lock(memory().mutex);
  DeviceMemory &m = memory().devices[pool->device];
  if (m.current == pool) m.current = &m.pool;
  pool->reserved = pool->used;
}

void pool_trim(Pool *pool, uint64_t keep) {
  std::unique_lock lock(memory().mutex);
  uint64_t least = pool->used > keep ? pool->used : keep;
  if (pool->reserved > least) pool->reserved = least;
}

void pools_settle(int device) {
  std::unique_lock lock(memory().mutex);
  for (auto *pool : memory().devices[device].pools) {
    uint64_t least =
        pool->used > pool->threshold ? pool->used : pool->threshold;
    if (pool->reserved > least) pool->reserved = least;
  }
}

void memory_info(int device, size_t *free, size_t *total) {
  std::shared_lock lock(memory().mutex);
  DeviceMemory &m = memory().devices[device];
  size_t held = held_bytes(m);
  *free = held < m.limit ? m.limit - held : 0;
  *total = m.limit;
}

void limit_memory(int device, size_t bytes) {
  std::unique_lock lock(memory().mutex);
  memory().devices[device].limit = bytes == 0 ? NOMINAL : bytes;
}

void check_guards(int device, const char *when) {
  std::shared_lock lock(memory().mutex);
  for (auto &entry : memory().blocks) {
    Block *b = entry.second;
    if (b->device == device && b->state == State::Live) check_zones(*b, when);
  }
}

void pool_access(Pool *pool, int device, bool on) {
  pool->peers = on ? pool->peers | 1u << device : pool->peers & ~(1u << device);
}

namespace {
bool pool_opened(const void *p, int device) {
  std::shared_lock lock(memory().mutex);
  Block *b = nearest(p);
  return b != nullptr && b->pool != nullptr && (b->pool->peers >> device & 1);
}
} // namespace

bool check_arguments(const char *params, size_t bytes, int device,
                     const char *kernel) {
  bool good = true;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const char *p;
    memcpy(&p, params + i, 8);
    int arena = arena_of(p);
    if (arena < 0 || instant_address(p)) continue;
    if (arena != device && arena != HOST_ARENA &&
        !peer_enabled(device, arena) && !pool_opened(p, device)) {
      violation("kernel %s on device %d: the address %p at byte %zu of its "
                "parameters belongs to device %d, to which it has no access",
                kernel, device, static_cast<const void *>(p), i, arena);
      good = false;
      continue;
    }
    std::string fault = fault_of(p, 0);
    if (fault.empty()) continue;
    violation("kernel %s: the address at byte %zu of its parameters: %s",
              kernel, i, fault.c_str());
    good = false;
  }
  return good;
}

void check_argument_guards(const char *params, size_t bytes,
                           const char *kernel) {
  std::shared_lock lock(memory().mutex);
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const char *p;
    memcpy(&p, params + i, 8);
    if (arena_of(p) < 0) continue;
    Block *b = nearest(p);
    if (b == nullptr || b->state == State::Dead) continue;
    check_zones(*b, kernel);
  }
}

void blocks_alive(std::vector<std::string> &out) {
  std::shared_lock lock(memory().mutex);
  for (auto &entry : memory().blocks) {
    Block *b = entry.second;
    if (b->state != State::Live) continue;
    char text[128], name[32];
    snprintf(text, sizeof text, "block of %zu bytes on %s", b->bytes,
             owner(b->device, name));
    out.push_back(text);
  }
}

namespace {
void drop(int arena) {
  std::vector<Block *> live;
  {
    std::unique_lock lock(memory().mutex);
    for (auto &entry : memory().blocks)
      if (entry.second->device == arena && entry.second->state == State::Live)
        live.push_back(entry.second);
    for (auto *b : live) b->state = State::Freeing;
  }
  for (auto *b : live) bury(b);
  std::unique_lock lock(memory().mutex);
  retire(memory().arenas[arena], 0);
  if (arena == HOST_ARENA) return;
  DeviceMemory &m = memory().devices[arena];
  m.plain = 0;
  m.peers = 0;
  for (auto *pool : m.pools) {
    pool->used = pool->reserved = pool->used_high = pool->reserved_high = 0;
    pool->threshold = 0;
    pool->peers = 0;
  }
  m.current = &m.pool;
}
} // namespace

void drop_device_memory(int device) { drop(device); }

void drop_all_memory() {
  for (int i = 0; i <= MAX_DEVICES; i++) drop(i);
  std::unique_lock lock(memory().mutex);
  memory().registered.clear();
}

bool peer_enabled(int device, int peer) {
  return device == peer || (memory().devices[device].peers >> peer & 1) != 0;
}

int enable_peer(int device, int peer) {
  if (peer_enabled(device, peer)) return PEER_ENABLED;
  memory().devices[device].peers |= 1u << peer;
  return OK;
}

int disable_peer(int device, int peer) {
  if (!peer_enabled(device, peer)) return PEER_NOT_ENABLED;
  memory().devices[device].peers &= ~(1u << peer);
  return OK;
}

} // namespace host
