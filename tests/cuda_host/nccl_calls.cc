// NCCL's collectives and groups.
#include "nccl_ranks.h"

using namespace nccl;
using host::violation;

namespace {

struct Group {
  int depth = 0;
  ncclResult_t failed = ncclSuccess;
  std::vector<Call> calls;
};
thread_local Group group;

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

} // namespace

extern "C" {

ncclResult_t ncclGroupStart() {
  NCCL_ENTER;
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
  NCCL_ENTER;
  return called(add(ALL_REDUCE, send, recv, count, type, op, 0, comm, stream));
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count,
                           ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  NCCL_ENTER;
  return called(add(BROADCAST, send, recv, count, type, ncclSum, root, comm, stream));
}

ncclResult_t ncclReduce(const void *send, void *recv, size_t count,
                        ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  NCCL_ENTER;
  return called(add(REDUCE, send, recv, count, type, op, root, comm, stream));
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count,
                           ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  NCCL_ENTER;
  return called(add(ALL_GATHER, send, recv, count, type, ncclSum, 0, comm, stream));
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count,
                               ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  NCCL_ENTER;
  return called(add(REDUCE_SCATTER, send, recv, count, type, op, 0, comm, stream));
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type,
                      int peer, ncclComm_t comm, cudaStream_t stream) {
  NCCL_ENTER;
  return called(add(SEND, send, nullptr, count, type, ncclSum, peer, comm, stream));
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  NCCL_ENTER;
  return called(add(RECV, nullptr, recv, count, type, ncclSum, peer, comm, stream));
}

} // extern "C"
