// Copies and fills, with the rules for pageable memory.
#include "core.h"

#include <cstdio>
#include <cstring>

namespace host {

namespace {

// Checks one end of a copy against the direction that the caller states.
bool end_is(const void *p, size_t bytes, int wanted, const char *which,
            const char *function, Place *place) {
  *place = place_of(p);
  bool device = *place == Place::Device;
  if (wanted != 2 && device != (wanted == 1)) {
    violation("%s: the %s, %p, is memory of %s", function, which, p,
              device ? "a device" : "the host");
    return false;
  }
  if (device) return device_range(p, bytes, function);
  if (!pinned_live(p, bytes)) {
    violation("%s: the %s: %s", function, which, describe(p).c_str());
    return false;
  }
  return true;
}

void move(void *to, const void *from, size_t bytes, const char *function) {
  if (!pinned_live(to, bytes) || !pinned_live(from, bytes)) {
    violation("%s: pinned memory was freed before the copy had run", function);
    return;
  }
  memmove(to, from, bytes);
}

} // namespace

int stream_ready(Stream *stream) {
  if (stream == nullptr) return INVALID_HANDLE;
  if (int lost = device_lost(stream_ordinal(stream))) return lost;
  std::lock_guard lock(core_mutex);
  if (auto &capture = capture_of(stream))
    return capture->invalid ? CAPTURE_INVALIDATED : OK;
  if (stream_is_legacy(stream) && legacy_blocked(stream_ordinal(stream)))
    return CAPTURE_IMPLICIT;
  return OK;
}

int copy(void *to, const void *from, size_t bytes, int kind, Stream *stream,
         bool wait, const char *function) {
  if (int status = stream_ready(stream)) return status;
  if (bytes == 0) return OK;
  if (kind < 0 || kind > 4) return 21; // cudaErrorInvalidMemcpyDirection
  if (to == nullptr || from == nullptr) return INVALID_VALUE;
  Place target, source;
  // The direction tells where each end lies; the default (4) lets the address
  // tell.
  int to_device = kind == 4 ? 2 : kind == 1 || kind == 3;
  int from_device = kind == 4 ? 2 : kind >= 2;
  if (!end_is(to, bytes, to_device, "target", function, &target) ||
      !end_is(from, bytes, from_device, "source", function, &source))
    return INVALID_VALUE;
  if (capture_of(stream) != nullptr) {
    if (wait) return capture_invalidate(stream, CAPTURE_UNSUPPORTED);
    submit(stream, {function, [=] { move(to, from, bytes, function); }, nullptr,
                    false, MEMCPY});
    return OK;
  }
  std::shared_ptr<char[]> staged;
  if (source == Place::Pageable && target == Place::Device && !wait) {
    // The source may be used again as soon as the call returns.
    staged.reset(new char[bytes]);
    memcpy(staged.get(), from, bytes);
  }
  submit(stream, {function,
                  [=] {
                    if (staged)
                      memcpy(to, staged.get(), bytes);
                    else
                      move(to, from, bytes, function);
                  },
                  nullptr, false, MEMCPY});
  bool pageable = target == Place::Pageable ||
                  (source == Place::Pageable && target != Place::Device);
  return wait || pageable ? stream_wait(stream) : OK;
}

int fill(void *to, unsigned value, unsigned width, size_t count, Stream *stream,
         bool wait, const char *function) {
  if (int status = stream_ready(stream)) return status;
  size_t bytes = count * width;
  if (bytes == 0) return OK;
  if (!device_range(to, bytes, function)) return INVALID_VALUE;
  if (reinterpret_cast<uintptr_t>(to) % width != 0) return INVALID_VALUE;
  submit(stream, {function,
                  [=] {
                    if (width == 1) {
                      memset(to, int(value), count);
                    } else {
                      auto *p = static_cast<char *>(to);
                      for (size_t i = 0; i < count; i++)
                        memcpy(p + i * width, &value, width);
                    }
                  },
                  nullptr, false, MEMSET});
  return wait ? stream_wait(stream) : OK;
}

} // namespace host
