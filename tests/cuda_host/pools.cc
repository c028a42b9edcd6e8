// How much memory of a device is taken: pools, plain memory, the limit.
#include "memory.h"

#include <algorithm>

namespace host {

size_t granules(size_t bytes) { return up(bytes, 512); }

namespace {
size_t held_bytes(const DeviceMemory &m) {
  size_t sum = m.plain;
  for (auto *pool : m.pools) sum += pool->reserved;
  return sum;
}

} // namespace

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

void pool_access(Pool *pool, int device, bool on) {
  pool->peers = on ? pool->peers | 1u << device : pool->peers & ~(1u << device);
}

} // namespace host
