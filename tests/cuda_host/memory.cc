// Memory as programs ask for it, and the checks of addresses.
#include "memory.h"

#include <cstdio>
#include <cstring>

namespace host {

namespace {
// Instant mode gives addresses out and never takes them back.
char *instant_begin(int device) {
  return memory().arenas[device].begin + memory().arena_bytes / 2;
}
std::atomic<size_t> instant_bump{0};
} // namespace

bool instant_address(const void *p) {
  int arena = arena_of(p);
  return arena >= 0 && p >= instant_begin(arena);
}

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
           instant_bump.fetch_add(up(bytes + 1, 512)) % (memory().arena_bytes / 2);
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

} // namespace host
