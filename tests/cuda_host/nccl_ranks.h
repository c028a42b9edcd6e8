// Ranks and calls of NCCL's stand-in.
#pragma once

#include "host.h"
#include "nccl_board.h"

#include <nccl.h>

#include <map>

namespace nccl {

// Remembers what was wrong, as ncclGetLastError tells it.
ncclResult_t refuse(ncclResult_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

enum Kind { ALL_REDUCE, BROADCAST, REDUCE, ALL_GATHER, REDUCE_SCATTER, SEND, RECV };
inline const char *const kind_names[] = {"ncclAllReduce", "ncclBroadcast", "ncclReduce",
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

// Bytes of an element; 0 for types that the stand-in does not have.
size_t width(int type);
// Combines the elements of all ranks.
void reduce(const std::vector<const char *> &parts, char *out, size_t count,
            int type, int op);

struct Rank;

} // namespace nccl

struct ncclComm {
  std::shared_ptr<nccl::Rank> rank;
};

namespace nccl {

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

bool live(ncclComm_t comm);
// Whether a call reads and writes memory of its device.
bool ranges(const Call &call, int device);
// Waits while a test holds a function.
void wait_while_held(const Rank &self, bool hang, const char *function);
// Starts the calls of a group, rank by rank and stream by stream.
ncclResult_t start(std::vector<Call> calls, bool hang = false);

} // namespace nccl

#define NCCL_ENTER                                                             \
  HOST_ENTER("nccl", ncclResult_t);                                            \
  if (host::instant()) return ncclSuccess
