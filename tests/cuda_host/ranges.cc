// Looks at many blocks at once: guard zones, arguments of kernels, what is
// alive; peers.
#include "memory.h"

#include <cstdio>
#include <cstring>

namespace host {

void check_guards(int device, const char *when) {
  std::shared_lock lock(memory().mutex);
  for (auto &entry : memory().blocks) {
    Block *b = entry.second;
    if (b->device == device && b->state == State::Live) check_zones(*b, when);
  }
}

namespace {
bool pool_opened(const void *p, int device) {
  std::shared_lock lock(memory().mutex);
  Block *b = nearest(p);
  return b != nullptr && b->pool != nullptr && (b->pool->peers >> device & 1);
}

bool peer_enabled(int device, int peer) {
  return device == peer || (memory().devices[device].peers >> peer & 1) != 0;
}
} // namespace

void check_arguments(const Launch &launch, int device) {
  const char *kernel = launch.kernel->info->name;
  for (size_t i : launch.pointers) {
    const char *p;
    memcpy(&p, &launch.params[i], 8);
    int arena = arena_of(p);
    if (p == nullptr || instant_address(p)) continue;
    if (arena < 0) {
      violation("kernel %s: the address %p at byte %zu of its parameters is "
                "none of a device",
                kernel, static_cast<const void *>(p), i);
      continue;
    }
    if (arena != device && arena != HOST_ARENA &&
        !peer_enabled(device, arena) && !pool_opened(p, device)) {
      violation("kernel %s on device %d: the address %p at byte %zu of its "
                "parameters belongs to device %d, to which it has no access",
                kernel, device, static_cast<const void *>(p), i, arena);
      continue;
    }
    std::string fault = fault_of(p, 0);
    if (!fault.empty())
      violation("kernel %s: the address at byte %zu of its parameters: %s",
                kernel, i, fault.c_str());
  }
}

void check_argument_guards(const Launch &launch) {
  std::shared_lock lock(memory().mutex);
  for (size_t i : launch.pointers) {
    const char *p;
    memcpy(&p, &launch.params[i], 8);
    if (arena_of(p) < 0) continue;
    Block *b = nearest(p);
    if (b != nullptr && b->state != State::Dead)
      check_zones(*b, launch.kernel->info->name);
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
