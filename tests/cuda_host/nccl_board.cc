// Boards in memory and in files.
#include "nccl_board.h"

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

namespace {

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

struct FileBoard : Board {
  std::filesystem::path folder;

  explicit FileBoard(const std::string &name)
      : folder(std::filesystem::temp_directory_path() / name) {
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

} // namespace

std::shared_ptr<Board> memory_board() {
  return std::make_shared<MemoryBoard>();
}

std::shared_ptr<Board> file_board(const std::string &name) {
  return std::make_shared<FileBoard>(name);
}
