// CUDA C, made a library by g++.
#pragma once
#include <string>
#include <vector>

namespace host {
// What the compiler gets.
struct KernelText {
  std::string text;
  // Whether accesses are worth checks of alignment and of array bounds.
  bool checked;
  std::vector<std::string> defines;
};
// The source between what makes it a library of kernels: the parts of simt.h
// that it uses, the table of its entry points, the range of its static shared
// memory.
KernelText kernel_library(const std::string &source, const std::string &name);
// Macros that choose the parts of simt.h that a source uses, and the
// declarations of its mathematical functions; whether it uses vectors.
std::string needs_of(const std::string &source, bool *vectors);
// Builds a library unless it is there already, from this process or another;
// its path, or nothing and what the compiler said.
std::string build_kernels(const KernelText &kernels, std::string *log);
} // namespace host
