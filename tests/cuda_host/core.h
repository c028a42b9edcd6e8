// Inside of the simulated machine; only the core and the stand-ins of the
// runtime, the driver and NVRTC see it. Results are the numbers of cudaError_t,
// which are those of CUresult wherever both have them.
#pragma once

#include "host.h"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace host {

enum Status : int {
  OK = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY = 209,
  INVALID_HANDLE = 400,
  ILLEGAL_STATE = 401,
  NOT_READY = 600,
  ILLEGAL_ADDRESS = 700,
  PEER_ENABLED = 704,
  PEER_NOT_ENABLED = 705,
  HOST_REGISTERED = 712,
  HOST_NOT_REGISTERED = 713,
  MISALIGNED_ADDRESS = 716,
  LAUNCH_FAILURE = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_MERGE = 902,
  CAPTURE_UNMATCHED = 903,
  CAPTURE_UNJOINED = 904,
  CAPTURE_ISOLATION = 905,
  CAPTURE_IMPLICIT = 906,
  CAPTURED_EVENT = 907,
  CAPTURE_WRONG_THREAD = 908,
  GRAPH_UPDATE_FAILURE = 910,
};

constexpr int MAX_DEVICES = 16;
constexpr int SHARED_DEFAULT = 48 * 1024;
constexpr int SHARED_OPTIN = 227 * 1024;

struct Stream;
struct Graph;
struct Node;
struct Capture;

// ---- faults.cc
// Name of the held call that this thread entered last, once; null otherwise.
const char *take_hang_name();
void wait_while_held(const char *function);
std::string listing(const std::vector<std::string> &lines);
void handles_alive(std::vector<std::string> &out);
void forget_handles();
// The handle belongs to the machine and is no leak.
void handle_never_leaks(void *handle);
// Checks like `handle_live`, but leaves it to the caller to complain.
bool handle_known(const char *kind, void *handle);

// ---- blocks.cc, pools.cc, memory.cc, ranges.cc
struct Pool {
  int device;
  bool own = false; // made by cudaMemPoolCreate
  uint64_t threshold = 0;
  uint64_t reserved = 0, reserved_high = 0, used = 0, used_high = 0;
  std::map<int, uint64_t> switches; // reuse policies
  unsigned peers = 0;               // other devices with access
};
Pool *default_pool(int device);
Pool *current_pool(int device);
void set_current_pool(int device, Pool *pool);
Pool *pool_make(int device);
void pool_drop(Pool *pool);
void pool_trim(Pool *pool, uint64_t keep);
// Memory that the streams have given back is released down to the threshold.
void pools_settle(int device);

enum class Place { Pageable, Pinned, Device };
Place place_of(const void *p);
int allocate(int device, size_t bytes, void **out, Stream *stream, Pool *pool);
int release(void *p, Stream *stream, const char *function);
// A graph that owned the memory is gone.
void release_captured(void *p);
int pin(size_t bytes, void **out);
int unpin(void *p);
int register_host(void *p, size_t bytes);
int unregister_host(void *p);
bool pinned_live(const void *p, size_t bytes);
void memory_info(int device, size_t *free, size_t *total);
void limit_memory(int device, size_t bytes);
// Guard zones of every live block of the device.
void check_guards(int device, const char *when);
struct Launch;
// A violation for each argument that points to freed memory, between blocks, or
// to a device that is out of reach.
void check_arguments(const Launch &launch, int device);
// Guard zones of the blocks that the arguments point to.
void check_argument_guards(const Launch &launch);
// Where an address lies, in words.
std::string describe(const void *p);
void blocks_alive(std::vector<std::string> &out);
void drop_device_memory(int device);
void drop_all_memory();
// Access of another device to the pool's memory.
void pool_access(Pool *pool, int device, bool on);
int enable_peer(int device, int peer);
int disable_peer(int device, int peer);

// ---- streams.cc
struct Launch;
enum NodeType { KERNEL = 0, MEMCPY = 1, MEMSET = 2, HOST = 3, EMPTY = 5 };
// Something that a stream does.
struct Work {
  const char *what = "";
  std::function<void()> run;
  std::shared_ptr<const Launch> launch; // kernels: run by the launcher
  bool always = false;                  // even on a lost device
  NodeType type = HOST;
};
struct Mark { // one recording of an event
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  double milliseconds = 0;
  void set();
  void wait();
};
struct Event {
  int device;
  bool timing;
  std::shared_ptr<Mark> mark;
  std::shared_ptr<Capture> capture;
  std::vector<Node *> nodes;
};
extern std::recursive_mutex core_mutex;
// Handles 0, 1 (legacy) and 2 (per thread) included; null when unknown.
Stream *stream_of(void *handle);
int stream_ordinal(Stream *stream);
unsigned stream_flags(Stream *stream);
int stream_priority(Stream *stream);
Stream *stream_make(int device, unsigned flags, int priority);
int stream_destroy(void *handle);
void submit(Stream *stream, Work work);
int stream_wait(Stream *stream);   // host waits
int stream_idle(Stream *stream);   // OK or NOT_READY
int device_wait(int device);
Event *event_make(int device, unsigned flags);
int event_record(Event *event, Stream *stream);
int event_wait(Stream *stream, Event *event);
int event_query(Event *event);
int event_synchronize(Event *event);
int event_elapsed(float *out, Event *a, Event *b);
// Work of every stream starts by chance up to so many microseconds later.
void jitter(int most);
// So much time passes for the events that come; below 0: none has.
void pass(double milliseconds);
void revive_device(int device);
void delay(Stream *stream, int milliseconds); // null: all
void streams_settle(); // waits for all streams of all devices
std::shared_ptr<Capture> &capture_of(Stream *stream);
bool stream_is_legacy(Stream *stream);
// A blocking stream of the device is being captured: legacy work is refused.
bool legacy_blocked(int device);

// ---- copies.cc
// Whether work may be queued; the status to answer with, or 0.
int stream_ready(Stream *stream);
// `kind` is a cudaMemcpyKind.
int copy(void *to, const void *from, size_t bytes, int kind, Stream *stream,
         bool wait, const char *function);
int fill(void *to, unsigned value, unsigned width, size_t count, Stream *stream,
         bool wait, const char *function);

// ---- graphs.cc
struct Node {
  Graph *graph;
  NodeType type;
  Work work;
  std::vector<Node *> after;
  std::vector<void *> params; // see node_params
};
struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<void *> owned; // memory that was allocated and freed in it
  int users = 1;             // itself and what was instantiated from it
};
struct Capture {
  uint64_t id;
  Graph *graph;
  int mode; // cudaStreamCaptureMode
  int invalid = 0;
  Stream *origin;
  uint64_t thread;
  std::map<Stream *, std::vector<Node *>> tails;
};
struct GraphExec {
  int device;
  Graph *graph;
  std::vector<Node *> order;
  std::map<Node *, Work> works;
  std::shared_ptr<Mark> latest; // of its launches: they take turns
};
bool node_live(void *handle);
void capture_add(Stream *stream, Work work);
int capture_begin(Stream *stream, int mode);
int capture_end(Stream *stream, Graph **out);
// The status with which a call that must not happen during a capture answers
// (and the capture is invalid from then on), or 0.
int capture_refuses_unsafe();
int capture_invalidate(Stream *stream, int status);
int graph_instantiate(Graph *graph, GraphExec **out);
int graph_update(GraphExec *exec, Graph *graph, Node **culprit);
int graph_exec_set(GraphExec *exec, Node *node,
                   std::shared_ptr<const Launch> launch);
// Addresses of the parameters that a kernel node holds.
void **node_params(Node *node);
int exchange_capture_mode(int mode);
int graph_launch(GraphExec *exec, Stream *stream);
void graph_free(Graph *graph);
void graph_exec_free(GraphExec *exec);

// ---- modules.cc, launch.cc, guard.cc
// What a compiled kernel file tells about itself; simt.h has the same struct.
struct KernelInfo {
  const char *name;
  void (*run_block)(void **args);  // all threads of a block in a loop
  void (*run_thread)(void **args); // the current thread
  int count;                       // of parameters
  const unsigned *sizes;
  const unsigned *alignments;
  const unsigned *pointers; // triples: parameter, offset in it, how many
  int pointer_count;        // of triples
  int max_threads;
  int barriers;
};
struct Module {
  std::string path;
  void *library;
  int device;
  unsigned static_shared;
  char *static_begin;
  std::mutex *running; // static shared memory is one per file
};
struct Kernel {
  Module *module;
  const KernelInfo *info;
  int dynamic_shared = SHARED_DEFAULT;
};
struct Launch {
  Kernel *kernel;
  unsigned grid[3], block[3], shared;
  std::vector<char> params; // packed as the kernel expects them
  std::vector<size_t> offsets;
  std::vector<size_t> pointers; // where in params addresses lie
};
int module_load(const char *image, int device, Module **out);
void module_unload(Module *module);
// Nothing runs, and no handle of a module is alive.
void modules_close();
const KernelInfo *module_find(Module *module, const char *name);
int launch_make(Kernel *kernel, const unsigned grid[3], const unsigned block[3],
                unsigned shared, void **params, void **extra,
                std::shared_ptr<const Launch> *out);
void launch_run(const Launch &launch, int device);
// Runs work; an illegal access in it loses the device instead of the process.
void guarded(int device, const char *what, const std::function<void()> &work);
// A mutex that guarded work holds; it is released when the work is cut short.
void hold_guarded(std::mutex *mutex);
void let_go_guarded();

// ---- nvrtc's file format
constexpr int PTX_IMAGE = 100000; // added to the architecture
constexpr char IMAGE_MAGIC[] = "DECAFSIM";
std::string image_make(const std::string &path, int arch);
uint64_t hash64(const void *data, size_t bytes, uint64_t seed = 0);
// Folder of libdecafhost.so.
const std::string &home();

// Whether the device's primary context exists.
bool context_retained(int device);
void retain_context(int device);
void release_context(int device);
// Whether no context is current for the thread, by its own wish.
bool context_detached();
void detach_context();
void set_device_count(int count);
// How often the machine was reset.
uint64_t epoch();
void begin_epoch();

} // namespace host
