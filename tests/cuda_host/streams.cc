// Streams and events: each stream works its queue off on a thread of its own.
#include "core.h"

#include <chrono>
#include <cstdlib>
#include <deque>
#include <set>
#include <thread>

namespace host {

std::recursive_mutex core_mutex;

struct Stream {
  int device;
  unsigned flags; // 1: does not wait for the legacy stream
  int priority;
  bool legacy = false;
  std::shared_ptr<Capture> capture;
  std::atomic<int> delay{0};

  std::mutex mutex;
  std::condition_variable changed;
  struct Task {
    Work work;
    std::vector<std::pair<Stream *, uint64_t>> after;
  };
  std::deque<Task> queue;
  uint64_t submitted = 0, completed = 0;
  bool started = false, closing = false;

  void wait_for(uint64_t number) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return completed >= number; });
  }
  // Waits for all that was queued before.
  void drain() {
    std::unique_lock lock(mutex);
    uint64_t number = submitted;
    changed.wait(lock, [&] { return completed >= number; });
  }
  void work_off();
};

namespace {

struct DeviceState {
  std::atomic<int> lost{0};
  std::atomic<int> retained{0};
  Stream *legacy = nullptr;
  std::set<Stream *> streams; // legacy and destroyed but busy ones included
};
DeviceState *states() {
  static auto *s = new DeviceState[MAX_DEVICES];
  return s;
}
std::atomic<int> count{1};
thread_local int current = 0;
thread_local bool detached = false; // no context is current
std::atomic<int> delay_all{0};

// Most microseconds by which a piece of work starts later, by chance.
std::atomic<int> jitter_most{[] {
  const char *text = getenv("DECAF_CUDA_HOST_JITTER");
  return text ? atoi(text) : 0;
}()};

const auto epoch = std::chrono::steady_clock::now();
std::atomic<double> passed{0}; // milliseconds that only events see
double now() {
  return passed + std::chrono::duration<double, std::milli>(
                      std::chrono::steady_clock::now() - epoch)
                      .count();
}

Stream *legacy_of(int device) {
  std::lock_guard lock(core_mutex);
  DeviceState &state = states()[device];
  if (state.legacy == nullptr) {
    state.legacy = new Stream;
    state.legacy->device = device;
    state.legacy->flags = 0;
    state.legacy->priority = 0;
    state.legacy->legacy = true;
    state.streams.insert(state.legacy);
  }
  return state.legacy;
}

void push(Stream *stream, Work work) {
  std::lock_guard lock(core_mutex);
  Stream::Task task{std::move(work), {}};
  // The legacy stream and the blocking streams of its device take turns.
  auto behind = [&](Stream *other) {
    std::lock_guard guard(other->mutex);
    if (other->completed < other->submitted)
      task.after.push_back({other, other->submitted});
  };
  if (stream->legacy) {
    for (Stream *other : states()[stream->device].streams)
      if (other != stream && (other->flags & 1) == 0) behind(other);
  } else if ((stream->flags & 1) == 0) {
    if (Stream *legacy = states()[stream->device].legacy) behind(legacy);
  }
  std::lock_guard guard(stream->mutex);
  stream->queue.push_back(std::move(task));
  stream->submitted++;
  if (!stream->started) {
    stream->started = true;
    std::thread([stream] { stream->work_off(); }).detach();
  }
  stream->changed.notify_all();
}

std::vector<Stream *> streams_of(int device) {
  std::lock_guard lock(core_mutex);
  auto &streams = states()[device].streams;
  return {streams.begin(), streams.end()};
}

} // namespace

void Stream::work_off() {
  current = device;
  uint64_t chance = 0x9e3779b97f4a7c15u ^ reinterpret_cast<uintptr_t>(this);
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return !queue.empty() || closing; });
      if (queue.empty()) break;
      task = std::move(queue.front());
      queue.pop_front();
    }
    for (auto &[stream, number] : task.after) stream->wait_for(number);
    if (int ms = delay + delay_all)
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    if (int most = jitter_most) {
      chance = chance * 6364136223846793005u + 1442695040888963407u;
      std::this_thread::sleep_for(
          std::chrono::microseconds((chance >> 33) % unsigned(most)));
    }
    Work &work = task.work;
    if (states()[device].lost == 0 || work.always) {
      if (work.launch)
        launch_run(*work.launch, device);
      else
        guarded(device, work.what, work.run);
    }
    task = {};
    std::lock_guard lock(mutex);
    completed++;
    changed.notify_all();
  }
  std::lock_guard lock(core_mutex);
  states()[device].streams.erase(this);
}

void Mark::set() {
  std::lock_guard lock(mutex);
  milliseconds = now();
  done = true;
  changed.notify_all();
}
void Mark::wait() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
}

int device_count() { return count; }
void set_device_count(int n) {
  count = n < 0 ? 0 : n > MAX_DEVICES ? MAX_DEVICES : n;
}
std::atomic<uint64_t> epochs{1};
uint64_t epoch() { return epochs; }
void begin_epoch() { epochs++; }
int current_device() { return current; }
void set_current_device(int device) {
  current = device;
  detached = false;
}
bool context_detached() { return detached; }
void detach_context() { detached = true; }
int device_lost(int device) {
  return device >= 0 && device < MAX_DEVICES ? states()[device].lost.load() : 0;
}
bool context_retained(int device) { return states()[device].retained > 0; }
void retain_context(int device) { states()[device].retained++; }
void release_context(int device) { states()[device].retained--; }
void lose_device(int device, int error) {
  int none = 0;
  states()[device].lost.compare_exchange_strong(none, error);
}

Stream *stream_of(void *handle) {
  auto number = reinterpret_cast<uintptr_t>(handle);
  if (number <= 1) return legacy_of(current);
  if (number == 2) { // one per thread and device
    static thread_local Stream *own[MAX_DEVICES];
    Stream *&stream = own[current];
    if (stream == nullptr) {
      stream = stream_make(current, 0, 0);
      handle_gone("stream", stream);
    }
    return stream;
  }
  return handle_live("stream", handle) ? static_cast<Stream *>(handle)
                                       : nullptr;
}

int stream_ordinal(Stream *stream) { return stream->device; }
unsigned stream_flags(Stream *stream) { return stream->flags; }
int stream_priority(Stream *stream) { return stream->priority; }
bool stream_is_legacy(Stream *stream) { return stream->legacy; }
std::shared_ptr<Capture> &capture_of(Stream *stream) { return stream->capture; }

bool legacy_blocked(int device) {
  for (Stream *stream : streams_of(device))
    if ((stream->flags & 1) == 0 && stream->capture) return true;
  return false;
}

Stream *stream_make(int device, unsigned flags, int priority) {
  auto *stream = new Stream; // never deleted: late looks must not crash
  stream->device = device;
  stream->flags = flags;
  stream->priority = priority;
  std::lock_guard lock(core_mutex);
  states()[device].streams.insert(stream);
  handle_made("stream", stream);
  return stream;
}

int stream_destroy(void *handle) {
  if (reinterpret_cast<uintptr_t>(handle) <= 2) {
    violation("a default stream cannot be destroyed");
    return INVALID_HANDLE;
  }
  if (!handle_live("stream", handle)) return INVALID_HANDLE;
  auto *stream = static_cast<Stream *>(handle);
  std::lock_guard lock(core_mutex);
  if (stream->capture) {
    capture_invalidate(stream, CAPTURE_INVALIDATED);
    stream->capture.reset();
  }
  handle_gone("stream", handle);
  std::lock_guard guard(stream->mutex);
  stream->closing = true;
  if (!stream->started) states()[stream->device].streams.erase(stream);
  stream->changed.notify_all();
  return OK;
}

void submit(Stream *stream, Work work) {
  std::lock_guard lock(core_mutex);
  if (int status = take_later()) {
    int device = stream->device;
    work.run = [device, status, run = work.always ? work.run : nullptr] {
      lose_device(device, status);
      if (run) run();
    };
    work.launch.reset();
  }
  if (stream->capture) {
    capture_add(stream, std::move(work));
    return;
  }
  if (const char *name = take_hang_name())
    push(stream, {"hang", [name] { wait_while_held(name); }});
  push(stream, std::move(work));
}

void enqueue(void *handle, std::function<void()> work) {
  if (instant()) return;
  Stream *stream = stream_of(handle);
  if (stream == nullptr) return;
  submit(stream, {"library call", std::move(work)});
}

int stream_device(void *handle) {
  if (instant() && reinterpret_cast<uintptr_t>(handle) > 2)
    return static_cast<Stream *>(handle)->device;
  Stream *stream = stream_of(handle);
  return stream == nullptr ? -1 : stream->device;
}

namespace {
void hang_here() {
  if (const char *name = take_hang_name()) wait_while_held(name);
}
} // namespace

int stream_wait(Stream *stream) {
  hang_here();
  {
    std::lock_guard lock(core_mutex);
    if (stream->capture) return capture_invalidate(stream, CAPTURE_UNSUPPORTED);
    if (stream->legacy && legacy_blocked(stream->device))
      return CAPTURE_IMPLICIT;
  }
  // Waiting for the legacy stream waits for the blocking ones too.
  if (stream->legacy) {
    for (Stream *other : streams_of(stream->device))
      if ((other->flags & 1) == 0) other->drain();
  }
  stream->drain();
  pools_settle(stream->device);
  return device_lost(stream->device);
}

int stream_idle(Stream *stream) {
  std::lock_guard lock(core_mutex);
  if (stream->capture) return capture_invalidate(stream, CAPTURE_UNSUPPORTED);
  if (int lost = device_lost(stream->device)) return lost;
  std::lock_guard guard(stream->mutex);
  return stream->completed >= stream->submitted ? OK : NOT_READY;
}

int device_wait(int device) {
  hang_here();
  for (Stream *stream : streams_of(device)) stream->drain();
  pools_settle(device);
  return device_lost(device);
}

void streams_settle() {
  for (int i = 0; i < MAX_DEVICES; i++) device_wait(i);
}

void delay(Stream *stream, int milliseconds) {
  if (stream == nullptr) {
    delay_all = milliseconds;
    if (milliseconds > 0) return;
    for (int i = 0; i < MAX_DEVICES; i++)
      for (Stream *each : streams_of(i)) each->delay = 0;
  } else {
    stream->delay = milliseconds;
  }
}

void jitter(int most) { jitter_most = most; }

void pass(double milliseconds) {
  streams_settle();
  passed = milliseconds < 0 ? 0 : passed + milliseconds;
}

void revive_device(int device) { states()[device].lost = 0; }

Event *event_make(int device, unsigned flags) {
  auto *event = new Event{device, (flags & 2) == 0, nullptr, nullptr, {}};
  handle_made("event", event);
  return event;
}

int event_record(Event *event, Stream *stream) {
  std::lock_guard lock(core_mutex);
  if (event->device != stream->device) {
    violation("event of device %d recorded in a stream of device %d",
              event->device, stream->device);
    return INVALID_HANDLE;
  }
  if (stream->capture) {
    event->capture = stream->capture;
    event->nodes = stream->capture->tails[stream];
    return OK;
  }
  event->capture.reset();
  event->nodes.clear();
  auto mark = std::make_shared<Mark>();
  event->mark = mark;
  submit(stream, {"event", [mark] { mark->set(); }, nullptr, true});
  return OK;
}

int event_wait(Stream *stream, Event *event) {
  std::lock_guard lock(core_mutex);
  if (event->capture) {
    if (stream->capture && stream->capture != event->capture) {
      stream->capture->invalid = event->capture->invalid = CAPTURE_INVALIDATED;
      return CAPTURE_MERGE;
    }
    if (event->capture->graph == nullptr) return CAPTURE_ISOLATION;
    if (stream->legacy) return CAPTURE_IMPLICIT;
    stream->capture = event->capture; // a fork: the stream joins the capture
    auto &tails = stream->capture->tails[stream];
    for (Node *node : event->nodes) {
      bool known = false;
      for (Node *tail : tails) known |= tail == node;
      if (!known) tails.push_back(node);
    }
    return OK;
  }
  if (stream->capture) return capture_invalidate(stream, CAPTURE_ISOLATION);
  auto mark = event->mark;
  if (!mark) return OK; // never recorded: nothing to wait for
  submit(stream, {"wait for an event", [mark] { mark->wait(); }, nullptr, true});
  return OK;
}

int event_query(Event *event) {
  if (event->capture) return CAPTURED_EVENT;
  if (int lost = device_lost(event->device)) return lost;
  auto mark = event->mark;
  if (!mark) return OK;
  std::lock_guard lock(mark->mutex);
  return mark->done ? OK : NOT_READY;
}

int event_synchronize(Event *event) {
  hang_here();
  if (event->capture) return CAPTURED_EVENT;
  if (auto mark = event->mark) mark->wait();
  return device_lost(event->device);
}

int event_elapsed(float *out, Event *a, Event *b) {
  if (!a->timing || !b->timing || !a->mark || !b->mark) return INVALID_HANDLE;
  if (int status = event_query(a)) return status;
  if (int status = event_query(b)) return status;
  *out = float(b->mark->milliseconds - a->mark->milliseconds);
  return OK;
}

} // namespace host
