// Log of calls, faults on demand, violations, handles.
#include "core.h"

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <unordered_map>

namespace host {

std::atomic<bool> instant_mode{false};

namespace {

constexpr uint64_t LOG_SIZE = 1 << 20;
struct Entry {
  const char *function;
};
Entry log_entries[LOG_SIZE];
std::atomic<uint64_t> log_next{0};

struct Fault {
  std::string function; // empty: any
  long nth;
  int status;
  bool later;
};

// All that lives to the end of the process is never destroyed: the threads of
// streams may still look at it.
std::mutex &mutex() {
  static auto *m = new std::mutex;
  return *m;
}
std::condition_variable &released() {
  static auto *c = new std::condition_variable;
  return *c;
}
std::vector<Fault> &faults() {
  static auto *v = new std::vector<Fault>;
  return *v;
}
std::vector<std::string> &holds() {
  static auto *v = new std::vector<std::string>;
  return *v;
}
std::vector<std::string> &violations() {
  static auto *v = new std::vector<std::string>;
  return *v;
}
std::atomic<bool> armed{false}, quiet{false};
thread_local const char *pending_hang = nullptr;
thread_local int pending_later = 0;

struct Handle {
  const char *kind;
  bool live;
  bool leaks = true;
};
std::unordered_map<void *, Handle> &handles() {
  static auto *m = new std::unordered_map<void *, Handle>;
  return *m;
}

int enter_armed(const char *function) {
  std::lock_guard lock(mutex());
  pending_hang = nullptr;
  pending_later = 0;
  for (auto &name : holds())
    if (name == function) pending_hang = function;
  int status = 0;
  for (size_t i = 0; i < faults().size();) {
    Fault &fault = faults()[i];
    if (!fault.function.empty() && fault.function != function) {
      i++;
    } else if (--fault.nth > 0) {
      i++;
    } else {
      if (fault.later)
        pending_later = fault.status;
      else if (status == 0)
        status = fault.status;
      faults().erase(faults().begin() + i);
    }
  }
  armed = !faults().empty() || !holds().empty() || pending_later != 0;
  return status;
}

} // namespace

int enter(const char *, const char *function) {
  uint64_t at = log_next.fetch_add(1, std::memory_order_relaxed);
  log_entries[at % LOG_SIZE].function = function;
  if (__builtin_expect(armed.load(std::memory_order_relaxed), 0))
    return enter_armed(function);
  return 0;
}

const char *take_hang_name() {
  const char *name = pending_hang;
  pending_hang = nullptr;
  return name;
}
bool take_hang() { return take_hang_name() != nullptr; }

int take_later() {
  int status = pending_later;
  pending_later = 0;
  return status;
}

bool held(const char *function) {
  std::lock_guard lock(mutex());
  for (auto &name : holds())
    if (name == function) return true;
  return false;
}

void wait_while_held(const char *function) {
  std::unique_lock lock(mutex());
  std::string name = function;
  released().wait(lock, [&] {
    for (auto &held : holds())
      if (held == name) return false;
    return true;
  });
}

void violation(const char *format, ...) {
  char text[2048];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (!quiet) fprintf(stderr, "cuda_host: %s\n", text);
  std::lock_guard lock(mutex());
  if (violations().size() < 1000) violations().push_back(text);
}

void handle_made(const char *kind, void *handle) {
  std::lock_guard lock(mutex());
  handles()[handle] = {kind, true, true};
}

bool handle_known(const char *kind, void *handle) {
  std::lock_guard lock(mutex());
  auto found = handles().find(handle);
  return found != handles().end() && found->second.live &&
         strcmp(found->second.kind, kind) == 0;
}

bool handle_live(const char *kind, void *handle) {
  const char *wrong;
  const char *other = "";
  {
    std::lock_guard lock(mutex());
    auto found = handles().find(handle);
    if (found == handles().end()) {
      wrong = "was never made";
    } else if (strcmp(found->second.kind, kind) != 0) {
      wrong = "is a handle of another kind: ";
      other = found->second.kind;
    } else if (!found->second.live) {
      wrong = "was destroyed before";
    } else {
      return true;
    }
  }
  violation("%s %p %s%s", kind, handle, wrong, other);
  return false;
}

void handle_gone(const char *kind, void *handle) {
  std::lock_guard lock(mutex());
  auto found = handles().find(handle);
  if (found != handles().end() && strcmp(found->second.kind, kind) == 0)
    found->second.live = false;
}

void handles_alive(std::vector<std::string> &out) {
  std::lock_guard lock(mutex());
  for (auto &[handle, known] : handles()) {
    if (!known.live || !known.leaks) continue;
    char text[128];
    snprintf(text, sizeof text, "%s %p", known.kind, handle);
    out.push_back(text);
  }
}

void handle_never_leaks(void *handle) {
  std::lock_guard lock(mutex());
  handles()[handle].leaks = false;
}

void forget_handles() {
  std::lock_guard lock(mutex());
  for (auto &entry : handles())
    if (entry.second.leaks) entry.second.live = false;
}

std::string listing(const std::vector<std::string> &lines) {
  std::string text;
  for (auto &line : lines) {
    if (!text.empty()) text += '\n';
    text += line;
  }
  return text;
}

uint64_t hash64(const void *data, size_t bytes, uint64_t seed) {
  uint64_t h = 0xcbf29ce484222325ull ^ (seed * 0x9e3779b97f4a7c15ull);
  auto *p = static_cast<const unsigned char *>(data);
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3ull;
  h ^= h >> 29;
  return h * 0xbf58476d1ce4e5b9ull;
}

// ---- what control.cc asks
void log_names(std::vector<std::string> &out) {
  uint64_t end = log_next, begin = end > LOG_SIZE ? end - LOG_SIZE : 0;
  for (uint64_t i = begin; i < end; i++)
    if (const char *name = log_entries[i % LOG_SIZE].function)
      out.push_back(name);
}
uint64_t log_count() { return log_next; }
void log_clear() { log_next = 0; }
void fault_add(const char *function, long nth, int status, bool later) {
  std::lock_guard lock(mutex());
  faults().push_back({function, nth, status, later});
  armed = true;
}
size_t faults_left() {
  std::lock_guard lock(mutex());
  return faults().size();
}
void hold(const char *function) {
  std::lock_guard lock(mutex());
  holds().push_back(function);
  armed = true;
}
void release_holds() {
  std::lock_guard lock(mutex());
  holds().clear();
  released().notify_all();
}
void faults_clear() {
  std::lock_guard lock(mutex());
  faults().clear();
  holds().clear();
  released().notify_all();
  armed = false;
  pending_hang = nullptr;
  pending_later = 0;
}
std::string violations_text() {
  std::lock_guard lock(mutex());
  return listing(violations());
}
void violations_silent(bool on) { quiet = on; }
void violations_clear() {
  std::lock_guard lock(mutex());
  violations().clear();
}

} // namespace host
