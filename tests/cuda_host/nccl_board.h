// Where ranks leave bytes for each other: in memory among the devices of one
// process, in files among processes.
#pragma once

#include "host.h"

#include <nccl.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace host {
int take_later(); // the status that the work of this call is to fail with
}

struct Board {
  virtual ~Board() {}
  virtual void post(const std::string &key, const std::vector<char> &bytes) = 0;
  // Waits for a key; false when `ended` came first.
  virtual bool wait(const std::string &key, std::vector<char> &bytes,
                    const std::atomic<bool> &ended) = 0;
  virtual void drop(const std::string &key) = 0;
  virtual void wake() {}
  virtual void leave(int, int) {}
};

struct MemoryBoard : Board {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::vector<char>> posts;

  void post(const std::string &key, const std::vector<char> &bytes) override {
    std::lock_guard lock(mutex);
    posts[key] = bytes;
    changed.notify_all();
  }
  bool wait(const std::string &key, std::vector<char> &bytes,
            const std::atomic<bool> &ended) override {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ended || posts.count(key); });
    if (!posts.count(key)) return false;
    bytes = posts[key];
    return true;
  }
  void drop(const std::string &key) override {
    std::lock_guard lock(mutex);
    posts.erase(key);
  }
  void wake() override {
    std::lock_guard lock(mutex);
    changed.notify_all();
  }
};

// A unique id: a name of 16 random bytes, repeated to the end, so that every
// byte of the id can be checked.
inline void make_id(ncclUniqueId *id) {
  std::random_device random;
  for (int i = 0; i < 16; i++) id->internal[i] = (char)random();
  for (int i = 16; i < NCCL_UNIQUE_ID_BYTES; i++)
    id->internal[i] = (char)(id->internal[i % 16] + i);
}

inline bool id_whole(const ncclUniqueId &id) {
  for (int i = 16; i < NCCL_UNIQUE_ID_BYTES; i++)
    if (id.internal[i] != (char)(id.internal[i % 16] + i)) return false;
  return true;
}

struct FileBoard : Board {
  std::filesystem::path folder;

  explicit FileBoard(const ncclUniqueId &id) {
    std::string name = "decaf_nccl_";
    for (int i = 0; i < 16; i++) {
      char text[3];
      snprintf(text, sizeof text, "%02x", (unsigned char)id.internal[i]);
      name += text;
    }
    folder = std::filesystem::temp_directory_path() / name;
    std::filesystem::create_directories(folder);
  }
  void post(const std::string &key, const std::vector<char> &bytes) override {
    std::error_code none;
    auto unfinished = folder / (key + ".tmp");
    std::ofstream(unfinished, std::ios::binary).write(bytes.data(), (long)bytes.size());
    std::filesystem::rename(unfinished, folder / key, none);
  }
  bool wait(const std::string &key, std::vector<char> &bytes,
            const std::atomic<bool> &ended) override {
    std::error_code none;
    while (!std::filesystem::exists(folder / key, none)) {
      if (ended) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    std::ifstream file(folder / key, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    return true;
  }
  void drop(const std::string &key) override {
    std::error_code none;
    std::filesystem::remove(folder / key, none);
  }
  // The last rank to leave takes the folder away.
  void leave(int rank, int size) override {
    post("bye." + std::to_string(rank), {0});
    std::error_code none;
    for (int r = 0; r < size; r++)
      if (!std::filesystem::exists(folder / ("bye." + std::to_string(r)), none)) return;
    std::filesystem::remove_all(folder, none);
  }
};
