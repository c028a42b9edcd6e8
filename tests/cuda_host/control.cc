// What tests ask of the machine (mod.ts).
#include "core.h"

#include <cstdio>
#include <cstring>

namespace host {
void log_names(std::vector<std::string> &out);
uint64_t log_count();
void log_clear();
void fault_add(const char *function, long nth, int status, bool later);
size_t faults_left();
void hold(const char *function);
void release_holds();
void faults_clear();
std::string violations_text();
void violations_clear();
void violations_silent(bool on);
} // namespace host

using namespace host;

namespace {
// Bytes that the text needs; it is written when they fit.
size_t give(const std::string &text, char *out, size_t room) {
  if (text.size() <= room) memcpy(out, text.data(), text.size());
  return text.size();
}
} // namespace

extern "C" {

#define CONTROL __attribute__((visibility("default")))

CONTROL size_t decafhost_calls(char *out, size_t room) {
  std::vector<std::string> names;
  log_names(names);
  return give(listing(names), out, room);
}
CONTROL uint64_t decafhost_call_count() { return log_count(); }
CONTROL void decafhost_clear_calls() { log_clear(); }
CONTROL void decafhost_fail(const char *function, int nth, int status,
                            int later) {
  fault_add(function, nth, status, later != 0);
}
CONTROL size_t decafhost_faults_left() { return faults_left(); }
CONTROL void decafhost_clear_faults() { faults_clear(); }
CONTROL void decafhost_hang(const char *function) { hold(function); }
CONTROL void decafhost_release() { release_holds(); }
CONTROL void decafhost_limit_memory(double bytes, int device) {
  for (int i = 0; i < MAX_DEVICES; i++)
    if (device < 0 || device == i) limit_memory(i, size_t(bytes));
}
CONTROL int decafhost_delay(void *stream, int milliseconds, int all) {
  if (all) {
    delay(nullptr, milliseconds);
    return 0;
  }
  Stream *one = stream_of(stream);
  if (one == nullptr) return -1;
  delay(one, milliseconds);
  return 0;
}
CONTROL void decafhost_jitter(int most) { jitter(most); }
CONTROL void decafhost_pass(double milliseconds) { pass(milliseconds); }
CONTROL void decafhost_devices(int count) { set_device_count(count); }
CONTROL void decafhost_instant(int on) {
  if (on) streams_settle();
  instant_mode = on != 0;
}
CONTROL void decafhost_nothing() {}
CONTROL void decafhost_settle() {
  streams_settle();
  // One more than devices: pinned memory.
  for (int i = 0; i <= MAX_DEVICES; i++) check_guards(i, "at a check by the test");
}
CONTROL size_t decafhost_violations(char *out, size_t room) {
  return give(violations_text(), out, room);
}
CONTROL void decafhost_clear_violations() { violations_clear(); }
CONTROL void decafhost_quiet(int on) { violations_silent(on != 0); }
CONTROL size_t decafhost_leaks(char *out, size_t room) {
  std::vector<std::string> lines;
  blocks_alive(lines);
  handles_alive(lines);
  return give(listing(lines), out, room);
}
CONTROL void decafhost_reset() {
  instant_mode = false;
  faults_clear();
  delay(nullptr, 0);
  pass(-1); // settles
  for (int i = 0; i < MAX_DEVICES; i++) {
    check_guards(i, "at a reset by the test");
    revive_device(i);
  }
  drop_all_memory();
  forget_handles();
  modules_close();
  for (int i = 0; i < MAX_DEVICES; i++) limit_memory(i, 0);
  set_device_count(1);
  set_current_device(0);
  begin_epoch();
  log_clear();
  violations_clear();
}
}
