// The threads of a block that wait for each other.
#pragma once
#include "core.h"

namespace host {

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
  char *area = nullptr; // ends at a page that cannot be touched
  size_t area_bytes = 0;
  std::vector<Fiber> fibers;
  unsigned count = 0, waiting = 0, done = 0;
  bool moved;
  Fiber *now = nullptr;
  void *main = nullptr;
  const KernelInfo *kernel;
  void **args;
  int votes;
};

// Team of the kernel that this thread runs.
extern thread_local Team *team;
// Runs a block; false when its threads wait for each other in vain.
bool run_fibers(Team &team, unsigned count);
// Waits for all threads of the block; how many voted for it.
int barrier(int line, bool vote);
// Takes part in an operation of the warp.
void warp(Fiber &self);

} // namespace host
