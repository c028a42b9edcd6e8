// CUDA C, made a library by g++.
#pragma once
#include <string>
#include <vector>

namespace host {
// The source between what makes it a library of kernels: the parts of simt.h
// that it uses, the table of its entry points, the range of its static shared
// memory.
std::string kernel_library(const std::string &source, const std::string &name);
// Macros that choose the parts of simt.h that a source uses, and the
// declarations of its mathematical functions.
std::string needs_of(const std::string &source);
// Builds a library unless it is there already, from this process or another;
// its path, or nothing and what the compiler said.
std::string build_kernels(const std::string &text,
                          const std::vector<std::string> &defines,
                          std::string *log);
} // namespace host
