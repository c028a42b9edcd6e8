// CUDA C as it is handed to g++.
#pragma once
#include <string>

namespace host {
// The source between what makes it a library of kernels: the table of its
// entry points and the range of its static shared memory.
std::string kernel_library(const std::string &source, const std::string &name);
} // namespace host
