// Inside of the simulated memory; see blocks.cc.
#pragma once
#include "core.h"

#include <deque>
#include <shared_mutex>

namespace host {

constexpr size_t GUARD = 256;               // bytes of a guard zone
constexpr int HOST_ARENA = MAX_DEVICES;     // pinned memory
constexpr size_t NOMINAL = size_t(80) << 30; // memory of a device

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

// Guarded by its mutex.
struct Memory {
  std::shared_mutex mutex;
  char *begin = nullptr;
  size_t arena_bytes = size_t(256) << 30; // addresses of a device
  Arena arenas[MAX_DEVICES + 1];
  DeviceMemory devices[MAX_DEVICES];
  std::map<uintptr_t, Block *> blocks;
  std::map<uintptr_t, size_t> registered;
  Memory();
};

Memory &memory();

// ---- blocks.cc
size_t up(size_t n, size_t to);
int arena_of(const void *p);
// The block at or before an address, dead or alive.
Block *nearest(const void *p);
Block *block_make(int arena, size_t bytes, Pool *pool);
void poison(const Block &block);
// Violated guard zones are repaired, so that each overrun is told once.
void check_zones(Block &block, const char *when);
// The stream has reached the free.
void bury(Block *block);
// Takes the oldest resting blocks into use again until `keep` bytes rest.
void retire(Arena &arena, size_t keep);
const char *owner(int arena, char text[32]);

// ---- pools.cc
// What a block takes of its device's memory.
size_t granules(size_t bytes);
// Takes bytes of a device, from a pool or from its plain memory; false when
// there are not that many.
bool charge(int device, size_t bytes, Pool *pool);

// ---- memory.cc
// An address that instant mode gave out.
bool instant_address(const void *p);
// Why [p, p + bytes) is no live range; empty when it is one.
std::string fault_of(const void *p, size_t bytes);

} // namespace host
