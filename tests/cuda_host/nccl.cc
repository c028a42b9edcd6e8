// Stand-in of NCCL: collectives among the devices of one process and among
// processes. Ranks exchange bytes through a board (memory, or files in a folder
// that the unique id names); every rank's work runs on its own stream.
#include "nccl_ranks.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <thread>

#include <sys/random.h>

using namespace nccl;
using host::violation;

namespace {
thread_local std::string last_error;

ncclComm_t made(std::shared_ptr<Rank> rank) {
  auto comm = new ncclComm{rank};
  host::handle_made("ncclComm", comm);
  return comm;
}

// A unique id: a name of 16 random bytes, repeated to the end, so that every
// byte of the id can be checked.
bool make_id(ncclUniqueId *id) {
  if (getrandom(id->internal, 16, 0) != 16) return false;
  for (int i = 16; i < NCCL_UNIQUE_ID_BYTES; i++)
    id->internal[i] = (char)(id->internal[i % 16] + i);
  return true;
}

bool id_whole(const ncclUniqueId &id) {
  for (int i = 16; i < NCCL_UNIQUE_ID_BYTES; i++)
    if (id.internal[i] != (char)(id.internal[i % 16] + i)) return false;
  return true;
}

std::string name_of(const ncclUniqueId &id) {
  std::string name = "decaf_nccl_";
  for (int i = 0; i < 16; i++) {
    char text[3];
    snprintf(text, sizeof text, "%02x", (unsigned char)id.internal[i]);
    name += text;
  }
  return name;
}

} // namespace

namespace nccl {

ncclResult_t refuse(ncclResult_t status, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  last_error = text;
  return status;
}

bool live(ncclComm_t comm) {
  return comm && host::handle_live("ncclComm", comm);
}

} // namespace nccl

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
  return make_id(id) ? ncclSuccess : ncclSystemError;
}

ncclResult_t ncclCommInitAll(ncclComm_t *comms, int count, const int *devices) {
  HOST_ENTER("nccl", ncclResult_t);
  if (!comms || count < 1) return refuse(ncclInvalidArgument, "%d devices", count);
  auto board = memory_board();
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
  rank->board = file_board(name_of(id));
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
  NCCL_ENTER;
  if (!error || !live(comm)) return ncclInvalidArgument;
  Rank &self = *comm->rank;
  *error = self.starting > 0 ? ncclInProgress : (ncclResult_t)self.async.load();
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
  NCCL_ENTER;
  if (!count || !live(comm)) return ncclInvalidArgument;
  *count = comm->rank->size;
  return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
  NCCL_ENTER;
  if (!device || !live(comm)) return ncclInvalidArgument;
  *device = comm->rank->device;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
  NCCL_ENTER;
  if (!rank || !live(comm)) return ncclInvalidArgument;
  *rank = comm->rank->rank;
  return ncclSuccess;
}

} // extern "C"
