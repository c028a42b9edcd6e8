// Where ranks leave bytes for each other: in memory among the devices of one
// process, in files among processes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

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

// A board for the ranks of this process, and one for all processes that name it alike.
std::shared_ptr<Board> memory_board();
std::shared_ptr<Board> file_board(const std::string &name);
