// Stand-in of NCCL: collectives among the devices of one process and among
// processes. Ranks exchange bytes through a board (memory, or files in a folder
// that the unique id names); every rank's work runs on its own stream.
#include "nccl_board.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <thread>

using host::violation;

namespace {

thread_local std::string last_error;

ncclResult_t refuse(ncclResult_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
ncclResult_t refuse(ncclResult_t status, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  last_error = text;
  return status;
}

enum Kind { ALL_REDUCE, BROADCAST, REDUCE, ALL_GATHER, REDUCE_SCATTER, SEND, RECV };
const char *kind_names[] = {"ncclAllReduce", "ncclBroadcast", "ncclReduce",
                            "ncclAllGather", "ncclReduceScatter", "ncclSend",
                            "ncclRecv"};

// What all ranks must agree on.
struct Header {
  int kind, type, op, root;
  uint64_t count;
  bool operator==(const Header &o) const {
    return kind == o.kind && type == o.type && op == o.op && root == o.root &&
           count == o.count;
  }
};

struct Call {
  Header header;
  const char *send;
  char *recv;
  cudaStream_t stream;
  ncclComm *comm;
  bool hang = false;
  int later = 0;
  int peer() const { return header.root; }
};

size_t width(int type) {
  switch (type) {
  case ncclInt8:
  case ncclUint8: return 1;
  case ncclFloat16:
  case ncclBfloat16: return 2;
  case ncclInt32:
  case ncclUint32:
  case ncclFloat32: return 4;
  case ncclInt64:
  case ncclUint64:
  case ncclFloat64: return 8;
  }
  return 0;
}

template <class T> T combine(T a, T b, int op) {
  switch (op) {
  case ncclProd: return a * b;
  case ncclMax: return a > b ? a : b;
  case ncclMin: return a < b ? a : b;
  }
  return a + b;
}

// Elements as they are computed with, and as they are stored.
template <class S, class W> struct Plain {
  static W load(S s) { return (W)s; }
  static S store(W w) { return (S)w; }
};
struct Half {
  static float load(uint16_t s) { return host::half_to_float(s); }
  static uint16_t store(float w) { return host::float_to_half(w); }
};
struct Bf16 {
  static float load(uint16_t s) { return host::bf16_to_float(s); }
  static uint16_t store(float w) { return host::float_to_bf16(w); }
};

template <class S, class W, class C>
void reduce_as(const std::vector<const char *> &parts, char *out, size_t count,
               int op) {
  for (size_t i = 0; i < count; i++) {
    W value = C::load(((const S *)parts[0])[i]);
    for (size_t r = 1; r < parts.size(); r++)
      value = combine<W>(value, C::load(((const S *)parts[r])[i]), op);
    if (op == ncclAvg) value = (W)(value / (W)parts.size());
    ((S *)out)[i] = C::store(value);
  }
}

void reduce(const std::vector<const char *> &parts, char *out, size_t count,
            int type, int op) {
  switch (type) {
  case ncclInt8: return reduce_as<int8_t, int64_t, Plain<int8_t, int64_t>>(parts, out, count, op);
  case ncclUint8: return reduce_as<uint8_t, uint64_t, Plain<uint8_t, uint64_t>>(parts, out, count, op);
  case ncclInt32: return reduce_as<int32_t, int64_t, Plain<int32_t, int64_t>>(parts, out, count, op);
  case ncclUint32: return reduce_as<uint32_t, uint64_t, Plain<uint32_t, uint64_t>>(parts, out, count, op);
  case ncclInt64: return reduce_as<int64_t, int64_t, Plain<int64_t, int64_t>>(parts, out, count, op);
  case ncclUint64: return reduce_as<uint64_t, uint64_t, Plain<uint64_t, uint64_t>>(parts, out, count, op);
  case ncclFloat16: return reduce_as<uint16_t, float, Half>(parts, out, count, op);
  case ncclBfloat16: return reduce_as<uint16_t, float, Bf16>(parts, out, count, op);
  case ncclFloat32: return reduce_as<float, float, Plain<float, float>>(parts, out, count, op);
  case ncclFloat64: return reduce_as<double, double, Plain<double, double>>(parts, out, count, op);
  }
}

} // namespace

// One rank. The work on streams shares what outlives the handle.
struct Rank {
  int rank, size, device;
  bool blocking = true, many = false; // many: this process drives other ranks too
  std::shared_ptr<Board> board;
  std::atomic<bool> aborted{false};
  std::atomic<int> async{ncclSuccess};
  std::atomic<int> starting{0}; // background work that is under way
  std::atomic<int> running{0};  // calls that were enqueued and have not ended
  uint64_t sequence = 0;        // of collectives; only streams touch it
  std::map<int, uint64_t> sent, received;
  std::vector<std::string> posted; // of the call before, kept until others must have read it
};

struct ncclComm {
  std::shared_ptr<Rank> rank;
};

namespace {

struct Group {
  int depth = 0;
  ncclResult_t failed = ncclSuccess;
  std::vector<Call> calls;
};
thread_local Group group;

bool live(ncclComm_t comm) { return comm && host::handle_live("ncclComm", comm); }

size_t sends(const Call &call) {
  size_t n = call.header.count * width(call.header.type);
  if (call.header.kind == RECV) return 0;
  return call.header.kind == REDUCE_SCATTER ? n * call.comm->rank->size : n;
}
size_t receives(const Call &call) {
  size_t n = call.header.count * width(call.header.type);
  int kind = call.header.kind;
  if (kind == SEND || (kind == REDUCE && call.comm->rank->rank != call.peer())) return 0;
  return kind == ALL_GATHER ? n * call.comm->rank->size : n;
}

// Where a call reads and writes, as it is made and as it runs.
bool ranges(const Call &call, int device) {
  const char *name = kind_names[call.header.kind];
  bool good = true;
  for (auto [p, bytes] : {std::pair<const char *, size_t>{call.send, sends(call)},
                          {call.recv, receives(call)}}) {
    if (bytes == 0) continue;
    if (!host::device_range(p, bytes, name)) good = false;
    else if (host::device_of(p) != device) {
      violation("%s on device %d was given memory of device %d", name, device,
                host::device_of(p));
      good = false;
    }
  }
  return good;
}

// One call of a group while it runs.
struct Running {
  Call call;
  std::string key;
  std::vector<char> data;
};

void fail_later(Rank &self, ncclResult_t status) {
  int none = ncclSuccess;
  self.async.compare_exchange_strong(none, status);
}

std::vector<char> packed(const Call &call) {
  std::vector<char> bytes(sizeof(Header) + sends(call));
  memcpy(bytes.data(), &call.header, sizeof(Header));
  if (sends(call)) memcpy(bytes.data() + sizeof(Header), call.send, sends(call));
  return bytes;
}

void post(Rank &self, Running &r) {
  Call &call = r.call;
  char key[64];
  if (call.header.kind == RECV) {
    snprintf(key, sizeof key, "p%d.%d.%llu", call.peer(), self.rank,
             (unsigned long long)self.received[call.peer()]++);
    r.key = key;
    return;
  }
  if (call.header.kind == SEND) {
    snprintf(key, sizeof key, "p%d.%d.%llu", self.rank, call.peer(),
             (unsigned long long)self.sent[call.peer()]++);
    r.key = key;
    self.board->post(r.key, packed(call));
    return;
  }
  snprintf(key, sizeof key, "c%llu.", (unsigned long long)self.sequence++);
  r.key = key;
  std::string own = r.key + std::to_string(self.rank);
  self.board->post(own, packed(call));
  self.posted.push_back(own);
}

// Waits for the others' parts; false when the communicator was aborted.
bool collect(Rank &self, Running &r, std::vector<std::vector<char>> &parts) {
  for (int rank = 0; rank < self.size; rank++) {
    std::vector<char> bytes;
    if (!self.board->wait(r.key + std::to_string(rank), bytes, self.aborted)) return false;
    Header other;
    memcpy(&other, bytes.data(), sizeof other);
    if (!(other == r.call.header)) {
      const Header &own = r.call.header;
      violation("ranks %d and %d do not agree: %s of %llu (type %d, op %d, root %d) and "
                "%s of %llu (type %d, op %d, root %d)",
                self.rank, rank, kind_names[own.kind], (unsigned long long)own.count,
                own.type, own.op, own.root, kind_names[other.kind],
                (unsigned long long)other.count, other.type, other.op, other.root);
      fail_later(self, ncclInvalidUsage);
      return false;
    }
    parts.push_back(std::move(bytes));
  }
  return true;
}

void finish_collective(Rank &self, Running &r) {
  std::vector<std::vector<char>> parts;
  if (!collect(self, r, parts)) return;
  const Call &call = r.call;
  const Header &h = call.header;
  size_t bytes = h.count * width(h.type);
  auto data = [&](int rank) { return parts[rank].data() + sizeof(Header); };
  std::vector<const char *> all;
  size_t offset = h.kind == REDUCE_SCATTER ? bytes * self.rank : 0;
  for (int rank = 0; rank < self.size; rank++) all.push_back(data(rank) + offset);
  switch (h.kind) {
  case REDUCE:
    if (self.rank != h.root) break;
    [[fallthrough]];
  case ALL_REDUCE:
  case REDUCE_SCATTER: reduce(all, call.recv, h.count, h.type, h.op); break;
  case BROADCAST: memcpy(call.recv, data(h.root), bytes); break;
  case ALL_GATHER:
    for (int rank = 0; rank < self.size; rank++)
      memcpy(call.recv + rank * bytes, data(rank), bytes);
    break;
  }
}

void finish_receive(Rank &self, Running &r) {
  std::vector<char> bytes;
  if (!self.board->wait(r.key, bytes, self.aborted)) return;
  Header other;
  memcpy(&other, bytes.data(), sizeof other);
  if (other.count != r.call.header.count || other.type != r.call.header.type) {
    violation("rank %d receives %llu elements of type %d and rank %d sends %llu of type %d",
              self.rank, (unsigned long long)r.call.header.count, r.call.header.type,
              r.call.peer(), (unsigned long long)other.count, other.type);
    fail_later(self, ncclInvalidUsage);
  } else {
    memcpy(r.call.recv, bytes.data() + sizeof(Header), bytes.size() - sizeof(Header));
  }
  self.board->post(r.key + ".taken", {0});
}

// A send is over when it was received.
void finish_send(Rank &self, Running &r) {
  std::vector<char> bytes;
  if (!self.board->wait(r.key + ".taken", bytes, self.aborted)) return;
  self.board->drop(r.key);
  self.board->drop(r.key + ".taken");
}

// All calls that one rank put on one stream in one group; they go on together.
void run(Rank &self, std::vector<Call> calls) {
  for (Call &call : calls) {
    while (call.hang && host::held(kind_names[call.header.kind]) && !self.aborted)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (call.later) fail_later(self, (ncclResult_t)call.later);
  }
  std::vector<std::string> before = std::move(self.posted);
  self.posted.clear();
  std::vector<Running> all;
  if (!self.aborted && self.async == ncclSuccess) {
    for (Call &call : calls) {
      if (!ranges(call, self.device)) return fail_later(self, ncclUnhandledCudaError);
      all.push_back({call, "", {}});
    }
    for (Running &r : all) post(self, r);
    for (Running &r : all) {
      if (r.call.header.kind == RECV) finish_receive(self, r);
      else if (r.call.header.kind != SEND) finish_collective(self, r);
    }
    for (Running &r : all)
      if (r.call.header.kind == SEND) finish_send(self, r);
  } else {
    // A failed communicator does not move on.
    while (!self.aborted) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  // Whoever is in this call has ended the one before.
  bool collective = false;
  for (Running &r : all) collective |= r.call.header.kind < SEND;
  if (collective)
    for (auto &key : before) self.board->drop(key);
  else
    self.posted.insert(self.posted.begin(), before.begin(), before.end());
}

void enqueue(std::vector<Call> calls) {
  auto self = calls[0].comm->rank;
  self->running++;
  host::enqueue(calls[0].stream, [self, calls] {
    run(*self, calls);
    self->running--;
  });
}

// Waits while a test holds a function.
void wait_while_held(const Rank &self, bool hang, const char *function) {
  while (hang && host::held(function) && !self.aborted)
    std::this_thread::sleep_for(std::chrono::microseconds(200));
}

// Starts the calls of a group, rank by rank and stream by stream.
ncclResult_t start(std::vector<Call> calls, bool hang = false) {
  ncclResult_t answer = ncclSuccess;
  while (!calls.empty()) {
    std::vector<Call> own, others;
    for (Call &call : calls)
      (call.comm == calls[0].comm && call.stream == calls[0].stream ? own : others)
          .push_back(call);
    calls = others;
    auto self = own[0].comm->rank;
    if (self->blocking) {
      enqueue(own);
      continue;
    }
    answer = ncclInProgress;
    self->starting++;
    std::thread([self, own, hang] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      wait_while_held(*self, hang, "ncclGroupEnd");
      if (!self->aborted) enqueue(own);
      self->starting--;
    }).detach();
  }
  return answer;
}

ncclResult_t called(ncclResult_t status) {
  if (group.depth > 0 && status != ncclSuccess) group.failed = status;
  return status;
}

ncclResult_t add(Kind kind, const void *send, void *recv, size_t count,
                 ncclDataType_t type, int op, int root, ncclComm_t comm,
                 cudaStream_t stream) {
  const char *name = kind_names[kind];
  if (!live(comm)) return refuse(ncclInvalidArgument, "%s: no live communicator", name);
  Rank &self = *comm->rank;
  if (width(type) == 0) return refuse(ncclInvalidArgument, "%s: type %d", name, type);
  if (op < 0 || op > ncclAvg) return refuse(ncclInvalidArgument, "%s: op %d", name, op);
  if (root < 0 || root >= self.size)
    return refuse(ncclInvalidArgument, "%s: root %d of %d", name, root, self.size);
  if (self.starting > 0) {
    violation("%s while the communicator is still in progress", name);
    return refuse(ncclInvalidUsage, "%s while in progress", name);
  }
  if (self.async != ncclSuccess)
    return refuse((ncclResult_t)self.async.load(), "%s after a failure", name);
  int device = host::stream_device(stream);
  if (device != self.device) {
    violation("%s of rank %d on device %d was given a stream of device %d", name,
              self.rank, self.device, device);
    return refuse(ncclInvalidUsage, "%s: foreign stream", name);
  }
  if (self.many && group.depth == 0) {
    violation("%s of rank %d outside of a group, while this thread drives other ranks too",
              name, self.rank);
    return refuse(ncclInvalidUsage, "%s outside of a group", name);
  }
  Call call{{kind, type, op, root, count}, (const char *)send, (char *)recv, stream, comm};
  call.hang = host::take_hang();
  call.later = host::take_later();
  if (!ranges(call, self.device)) return refuse(ncclInvalidArgument, "%s: memory", name);
  if (count == 0) return ncclSuccess;
  if (group.depth > 0) {
    group.calls.push_back(call);
    return ncclSuccess;
  }
  return start({call});
}

ncclComm_t made(std::shared_ptr<Rank> rank) {
  auto comm = new ncclComm{rank};
  host::handle_made("ncclComm", comm);
  return comm;
}

} // namespace

#define ENTER                                                                  \
  HOST_ENTER("nccl", ncclResult_t);                                            \
  if (host::instant()) return ncclSuccess

extern "C" {

ncclResult_t ncclGetVersion(int *version) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!version) return ncclInvalidArgument;
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t status) {
  switch (status) {
  case ncclSuccess: return "no error";
  case ncclUnhandledCudaError: return "unhandled cuda error";
  case ncclSystemError: return "unhandled system error";
  case ncclInternalError: return "internal error";
  case ncclInvalidArgument: return "invalid argument";
  case ncclInvalidUsage: return "invalid usage";
  case ncclRemoteError: return "remote process exited or there was a network error";
  case ncclInProgress: return "NCCL operation in progress";
  default: return "unknown result code";
  }
}

const char *ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!id) return ncclInvalidArgument;
  make_id(id);
  return ncclSuccess;
}

ncclResult_t ncclCommInitAll(ncclComm_t *comms, int count, const int *devices) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!comms || count < 1) return refuse(ncclInvalidArgument, "%d devices", count);
  auto board = std::make_shared<MemoryBoard>();
  for (int i = 0; i < count; i++) {
    int device = devices ? devices[i] : i;
    if (device < 0 || device >= host::device_count())
      return refuse(ncclUnhandledCudaError, "there is no device %d", device);
    for (int j = 0; j < i; j++)
      if ((devices ? devices[j] : j) == device)
        return refuse(ncclInvalidUsage, "duplicate GPU %d", device);
  }
  for (int i = 0; i < count; i++) {
    auto rank = std::make_shared<Rank>();
    rank->rank = i;
    rank->size = count;
    rank->device = devices ? devices[i] : i;
    rank->many = count > 1;
    rank->board = board;
    comms[i] = made(rank);
  }
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id,
                                    int index, ncclConfig_t *config) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!comm || size < 1 || index < 0 || index >= size)
    return refuse(ncclInvalidArgument, "rank %d of %d", index, size);
  if (!id_whole(id)) {
    violation("ncclCommInitRank was given a unique id that is damaged");
    return refuse(ncclInvalidArgument, "the unique id is damaged");
  }
  auto rank = std::make_shared<Rank>();
  rank->rank = index;
  rank->size = size;
  rank->device = host::current_device();
  rank->board = std::make_shared<FileBoard>(id);
  if (config) {
    size_t bytes;
    memcpy(&bytes, config, sizeof bytes);
    if (config->magic != NCCL_API_MAGIC || bytes < 20)
      return refuse(ncclInvalidArgument, "the configuration was not initialised");
    rank->blocking = config->blocking != 0;
  }
  auto meet = [rank] {
    auto hello = [](int r) { return "hello." + std::to_string(r); };
    std::vector<char> own(sizeof(int));
    memcpy(own.data(), &rank->device, sizeof(int));
    rank->board->post(hello(rank->rank), own);
    for (int r = 0; r < rank->size; r++) {
      std::vector<char> bytes;
      if (!rank->board->wait(hello(r), bytes, rank->aborted)) return;
      int device;
      memcpy(&device, bytes.data(), sizeof device);
      if (r != rank->rank && device == rank->device) rank->async = ncclInvalidUsage;
    }
  };
  *comm = made(rank);
  if (rank->blocking) {
    meet();
    if (rank->async == ncclSuccess) return ncclSuccess;
    host::handle_gone("ncclComm", *comm);
    delete *comm;
    *comm = nullptr;
    return refuse(ncclInvalidUsage, "two ranks on device %d", rank->device);
  }
  rank->starting++;
  std::thread([rank, meet] {
    meet();
    rank->starting--;
  }).detach();
  return ncclInProgress;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int index) {
  return ncclCommInitRankConfig(comm, size, id, index, nullptr);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!live(comm)) return ncclInvalidArgument;
  auto self = comm->rank;
  bool hang = host::take_hang();
  auto settle = [self, hang] {
    wait_while_held(*self, hang, "ncclCommFinalize");
    while (self->running > 0 && !self->aborted)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
  };
  if (self->blocking) {
    settle();
    return ncclSuccess;
  }
  self->starting++;
  std::thread([self, settle] {
    settle();
    self->starting--;
  }).detach();
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!live(comm)) return ncclInvalidArgument;
  auto self = comm->rank;
  while (self->running > 0 || self->starting > 0)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  self->board->leave(self->rank, self->size);
  host::handle_gone("ncclComm", comm);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!live(comm)) return ncclInvalidArgument;
  auto self = comm->rank;
  self->aborted = true;
  self->board->wake();
  while (self->running > 0 || self->starting > 0)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  self->board->leave(self->rank, self->size);
  host::handle_gone("ncclComm", comm);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  ENTER;
  if (!error || !live(comm)) return ncclInvalidArgument;
  Rank &self = *comm->rank;
  *error = self.starting > 0 ? ncclInProgress : (ncclResult_t)self.async.load();
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
  ENTER;
  if (!count || !live(comm)) return ncclInvalidArgument;
  *count = comm->rank->size;
  return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
  ENTER;
  if (!device || !live(comm)) return ncclInvalidArgument;
  *device = comm->rank->device;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
  ENTER;
  if (!rank || !live(comm)) return ncclInvalidArgument;
  *rank = comm->rank->rank;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ENTER;
  if (group.depth++ == 0) group = {1, ncclSuccess, {}};
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (int status = host::enter("nccl", __func__)) {
    // The group is over all the same.
    if (group.depth > 0 && --group.depth == 0) group.calls.clear();
    return static_cast<ncclResult_t>(status);
  }
  if (host::instant()) return ncclSuccess;
  if (group.depth == 0) {
    violation("ncclGroupEnd without ncclGroupStart");
    return refuse(ncclInvalidUsage, "no group was started");
  }
  if (--group.depth > 0) return ncclSuccess;
  std::vector<Call> calls = std::move(group.calls);
  group.calls.clear();
  if (group.failed != ncclSuccess) return group.failed;
  return start(calls, host::take_hang());
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count,
                           ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  ENTER;
  return called(add(ALL_REDUCE, send, recv, count, type, op, 0, comm, stream));
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count,
                           ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  ENTER;
  return called(add(BROADCAST, send, recv, count, type, ncclSum, root, comm, stream));
}

ncclResult_t ncclReduce(const void *send, void *recv, size_t count,
                        ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  ENTER;
  return called(add(REDUCE, send, recv, count, type, op, root, comm, stream));
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count,
                           ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  ENTER;
  return called(add(ALL_GATHER, send, recv, count, type, ncclSum, 0, comm, stream));
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count,
                               ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  ENTER;
  return called(add(REDUCE_SCATTER, send, recv, count, type, op, 0, comm, stream));
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type,
                      int peer, ncclComm_t comm, cudaStream_t stream) {
  ENTER;
  return called(add(SEND, send, nullptr, count, type, ncclSum, peer, comm, stream));
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  ENTER;
  return called(add(RECV, nullptr, recv, count, type, ncclSum, peer, comm, stream));
}

} // extern "C"
