// What the stand-in libraries share: one simulated machine with devices,
// memory, streams, events and graphs, and the faults that a test asks for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace host {

// Calls return at once and compute nothing while this is set.
extern std::atomic<bool> instant_mode;
inline bool instant() { return instant_mode.load(std::memory_order_relaxed); }

// First line of every API function: logs the call; answers the status that a
// test asked this call to fail with, or 0.
int enter(const char *library, const char *function);
#define HOST_ENTER(library, type)                                              \
  if (int s_ = host::enter(library, __func__)) return static_cast<type>(s_)

// True when a test holds the call that this thread entered last (`hang`);
// true once per call. `enqueue` asks by itself and puts a wait for the release
// in front of the work; a library with waits of its own (collectives that may
// be aborted) asks first and looks at `held` while it waits.
bool take_hang();
bool held(const char *function);
// Status that the work of the last entered call is to fail with later, or 0.
int take_later();

// True if [p, p + bytes) lies inside one live block of device memory; otherwise
// a violation that names `what` is recorded and it is false.
bool device_range(const void *p, size_t bytes, const char *what);
// Ordinal of the device that owns the address, -1 when none does.
int device_of(const void *p);

int device_count();
// Device of the calling thread.
int current_device();
void set_current_device(int device);
// cudaError of the fault that made the device useless, or 0.
int device_lost(int device);
// Makes the device useless, as an illegal address in a kernel does.
void lose_device(int device, int error);

// Runs on the stream's own thread, after all earlier work of the stream; while
// the stream is being captured it becomes a node of the graph instead.
void enqueue(void *stream, std::function<void()> work);
// -1 and a violation if it is no live stream.
int stream_device(void *stream);

// Handles of all libraries: made, checked, destroyed; what is alive at the end
// is a leak. `handle_live` records a violation when it answers false.
void handle_made(const char *kind, void *handle);
bool handle_live(const char *kind, void *handle);
void handle_gone(const char *kind, void *handle);

// A strict check failed: recorded for the test, printed to stderr.
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Storage types, rounded to nearest even.
float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);
float bf16_to_float(uint16_t bits);
uint16_t float_to_bf16(float value);
// TF32 keeps ten bits of the mantissa.
float float_to_tf32(float value);

} // namespace host
