// What NCCL's stand-in does on the streams: every rank posts its part to the
// board, waits for the others' and computes its result.
#include "nccl_ranks.h"

#include <cstring>
#include <thread>

using host::violation;

namespace nccl {

namespace {

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

} // namespace

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

namespace {

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
  // Work of a device that is lost is dropped, and has ended too.
  std::shared_ptr<void> ended(nullptr, [self](void *) { self->running--; });
  host::enqueue(calls[0].stream, [self, calls, ended] { run(*self, calls); });
}

} // namespace

void wait_while_held(const Rank &self, bool hang, const char *function) {
  while (hang && host::held(function) && !self.aborted)
    std::this_thread::sleep_for(std::chrono::microseconds(200));
}

ncclResult_t start(std::vector<Call> calls, bool hang) {
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

} // namespace nccl
