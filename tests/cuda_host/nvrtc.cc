// NVRTC: CUDA C built by g++ against simt.h into a small shared library, which
// is kept by a hash of its source; the machine code that a program gets is a
// note that names this file.
#include "core.h"
#include "nvrtc_source.h"

#include <nvrtc.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define API extern "C" __attribute__((visibility("default")))
#define BEGIN() HOST_ENTER("nvrtc", nvrtcResult)

extern char **environ;

using namespace host;

namespace {

struct Program {
  std::string source, name, log, code, ptx;
  std::vector<std::string> expressions;
  bool compiled = false;
};

Program *program_of(nvrtcProgram handle) {
  return handle_live("program", handle) ? reinterpret_cast<Program *>(handle)
                                        : nullptr;
}

constexpr int ARCHITECTURES[] = {75, 80,  86,  87,  88,  89,
                                 90, 100, 103, 110, 120, 121};

struct Options {
  int arch = 75;
  bool machine = false; // sm_, not compute_
  std::vector<std::string> defines;
};

bool starts(const std::string &text, const char *with) {
  return text.compare(0, strlen(with), with) == 0;
}

bool parse_arch(const std::string &value, Options &out) {
  size_t digits = value.find('_');
  if (digits == std::string::npos) return false;
  out.machine = starts(value, "sm_");
  if (!out.machine && !starts(value, "compute_")) return false;
  out.arch = atoi(value.c_str() + digits + 1);
  for (int known : ARCHITECTURES)
    if (known == out.arch) return true;
  return false;
}

// Empty when the options are good, otherwise what is wrong.
std::string parse(int count, const char *const *options, Options &out) {
  static const char *const IGNORED[] = {
      "--std=",      "-std=",       "--use_fast_math", "-use_fast_math",
      "--fmad=",     "-fmad=",      "--ftz=",          "-ftz=",
      "--prec-div=", "-prec-div=",  "--prec-sqrt=",    "-prec-sqrt=",
      "-I",          "--include-path=", "-lineinfo",   "--generate-line-info",
      "-G",          "--device-debug",  "--maxrregcount=", "-maxrregcount=",
      "-default-device", "--device-as-default-execution-space", "-w",
      "--disable-warnings", "--extra-device-vectorization", "-dopt",
      "--dopt",      "--restrict",  "-restrict",       "--split-compile=",
      "--minimal",   "-minimal",    "--no-cache",      "-no-cache",
      "--relocatable-device-code=", "-rdc=",
  };
  for (int i = 0; i < count; i++) {
    std::string option = options[i];
    size_t equals = option.find('=');
    std::string value =
        equals == std::string::npos ? "" : option.substr(equals + 1);
    if (starts(option, "--gpu-architecture=") || starts(option, "-arch=")) {
      if (!parse_arch(value, out))
        return "nvrtc: error: invalid value for --gpu-architecture (-arch)";
      continue;
    }
    if (starts(option, "-D") || starts(option, "--define-macro=")) {
      out.defines.push_back(
          "-D" + (option[1] == 'D' ? option.substr(2) : value));
      continue;
    }
    bool known = false;
    for (auto *prefix : IGNORED) known |= starts(option, prefix);
    if (!known) return "nvrtc: error: unrecognized option " + option + " found";
  }
  return "";
}

bool exists(const std::string &path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

std::string read_all(const std::string &path) {
  std::string text;
  if (FILE *file = fopen(path.c_str(), "rb")) {
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, file)) > 0) text.append(part, n);
    fclose(file);
  }
  return text;
}

bool write_all(const std::string &path, const std::string &text) {
  FILE *file = fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  bool good = fwrite(text.data(), 1, text.size(), file) == text.size();
  return fclose(file) == 0 && good;
}

// Exit status of the compiler; what it says goes into a file.
int run(const std::vector<std::string> &words, const std::string &log) {
  std::vector<char *> arguments;
  for (auto &word : words) arguments.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char *> environment;
  for (char **e = environ; *e != nullptr; e++)
    if (strncmp(*e, "LC_", 3) != 0 && strncmp(*e, "LANG", 4) != 0)
      environment.push_back(*e);
  environment.push_back(const_cast<char *>("LC_ALL=C"));
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child;
  int status = posix_spawnp(&child, arguments[0], &actions, nullptr,
                            arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) return -1;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Builds the library of the source unless another program, or another process,
// has built it; its path, or empty and the log.
std::string build(const std::string &text,
                  const std::vector<std::string> &defines, std::string *log) {
  std::string key = text;
  for (auto &define : defines) key += '\n' + define;
  char name[40];
  snprintf(name, sizeof name, "%016llx%016llx",
           (unsigned long long)hash64(key.data(), key.size(), 1),
           (unsigned long long)hash64(key.data(), key.size(), 2));
  std::string folder = home() + "/kernels", file = folder + "/" + name + ".so";
  if (exists(file)) return file;
  mkdir(folder.c_str(), 0755);
  static std::atomic<int> next{0};
  std::string stem = folder + "/" + name + "." + std::to_string(getpid()) + "." +
                     std::to_string(next++);
  if (!write_all(stem + ".cc", text)) {
    *log = "cannot write " + stem + ".cc";
    return "";
  }
  const char *compiler = getenv("DECAF_CUDA_HOST_CXX");
  std::vector<std::string> words = {
      compiler ? compiler : "g++", "-std=gnu++2a", "-O1", "-w", "-shared",
      "-fPIC", "-nostdlib", "-nostdinc", "-fno-exceptions", "-fno-rtti",
      "-fno-strict-aliasing", "-fno-math-errno", "-fno-stack-protector",
      "-ffp-contract=off", "-fvisibility=hidden", "-fmax-errors=20",
      "-fdiagnostics-color=never", "-fno-diagnostics-show-caret",
      "-include", home() + "/simt.h"};
  words.insert(words.end(), defines.begin(), defines.end());
  words.insert(words.end(), {"-o", stem + ".so", stem + ".cc",
                             home() + "/libdecafhost.so"});
  int status = run(words, stem + ".log");
  *log = read_all(stem + ".log");
  unlink((stem + ".log").c_str());
  unlink((stem + ".cc").c_str());
  if (status != 0) {
    unlink((stem + ".so").c_str());
    if (log->empty()) *log = "cannot run " + words[0];
    return "";
  }
  rename((stem + ".so").c_str(), file.c_str());
  return file;
}

} // namespace

API const char *nvrtcGetErrorString(nvrtcResult result) {
  static const char *const NAMES[] = {
      "NVRTC_SUCCESS", "NVRTC_ERROR_OUT_OF_MEMORY",
      "NVRTC_ERROR_PROGRAM_CREATION_FAILURE", "NVRTC_ERROR_INVALID_INPUT",
      "NVRTC_ERROR_INVALID_PROGRAM", "NVRTC_ERROR_INVALID_OPTION",
      "NVRTC_ERROR_COMPILATION", "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
      "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
      "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
      "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID", "NVRTC_ERROR_INTERNAL_ERROR"};
  bool known = result >= 0 && size_t(result) < sizeof NAMES / sizeof *NAMES;
  return known ? NAMES[result] : "NVRTC_ERROR unknown";
}

API nvrtcResult nvrtcVersion(int *major, int *minor) {
  BEGIN();
  if (!major || !minor) return NVRTC_ERROR_INVALID_INPUT;
  *major = 13;
  *minor = 2;
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetNumSupportedArchs(int *count) {
  BEGIN();
  if (!count) return NVRTC_ERROR_INVALID_INPUT;
  *count = sizeof ARCHITECTURES / sizeof *ARCHITECTURES;
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetSupportedArchs(int *list) {
  BEGIN();
  if (!list) return NVRTC_ERROR_INVALID_INPUT;
  memcpy(list, ARCHITECTURES, sizeof ARCHITECTURES);
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcCreateProgram(nvrtcProgram *out, const char *source,
                                   const char *name, int headers,
                                   const char *const *, const char *const *) {
  BEGIN();
  if (!out || !source || headers != 0) return NVRTC_ERROR_INVALID_INPUT;
  auto *program = new Program;
  program->source = source;
  program->name = name ? name : "default_program";
  handle_made("program", program);
  *out = reinterpret_cast<nvrtcProgram>(program);
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcDestroyProgram(nvrtcProgram *handle) {
  BEGIN();
  if (!handle) return NVRTC_ERROR_INVALID_PROGRAM;
  Program *program = program_of(*handle);
  if (program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  handle_gone("program", program);
  delete program;
  *handle = nullptr;
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcCompileProgram(nvrtcProgram handle, int count,
                                    const char *const *options) {
  BEGIN();
  Program *program = program_of(handle);
  if (program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  Options chosen;
  program->log = parse(count, options, chosen);
  if (!program->log.empty()) return NVRTC_ERROR_INVALID_OPTION;
  chosen.defines.push_back("-D__CUDA_ARCH__=" +
                           std::to_string(chosen.arch * 10));
  std::string text = kernel_library(program->source, program->name);
  std::string file = build(text, chosen.defines, &program->log);
  program->compiled = !file.empty();
  if (file.empty()) return NVRTC_ERROR_COMPILATION;
  if (chosen.machine) program->code = image_make(file, chosen.arch);
  program->ptx = image_make(file, PTX_IMAGE + chosen.arch);
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram handle, size_t *size) {
  BEGIN();
  Program *program = program_of(handle);
  if (program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!size) return NVRTC_ERROR_INVALID_INPUT;
  *size = program->log.size() + 1;
  return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetProgramLog(nvrtcProgram handle, char *log) {
  BEGIN();
  Program *program = program_of(handle);
  if (program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!log) return NVRTC_ERROR_INVALID_INPUT;
  memcpy(log, program->log.c_str(), program->log.size() + 1);
  return NVRTC_SUCCESS;
}

namespace {
nvrtcResult give_size(nvrtcProgram handle, std::string Program::*what,
                      size_t *size) {
  Program *program = program_of(handle);
  if (program == nullptr || !program->compiled)
    return NVRTC_ERROR_INVALID_PROGRAM;
  if (!size) return NVRTC_ERROR_INVALID_INPUT;
  *size = (program->*what).size();
  return NVRTC_SUCCESS;
}
nvrtcResult give(nvrtcProgram handle, std::string Program::*what, char *out) {
  Program *program = program_of(handle);
  if (program == nullptr || !program->compiled)
    return NVRTC_ERROR_INVALID_PROGRAM;
  if (!out) return NVRTC_ERROR_INVALID_INPUT;
  memcpy(out, (program->*what).data(), (program->*what).size());
  return NVRTC_SUCCESS;
}
} // namespace

API nvrtcResult nvrtcGetCUBINSize(nvrtcProgram handle, size_t *size) {
  BEGIN();
  return give_size(handle, &Program::code, size);
}
API nvrtcResult nvrtcGetCUBIN(nvrtcProgram handle, char *out) {
  BEGIN();
  return give(handle, &Program::code, out);
}
API nvrtcResult nvrtcGetPTXSize(nvrtcProgram handle, size_t *size) {
  BEGIN();
  return give_size(handle, &Program::ptx, size);
}
API nvrtcResult nvrtcGetPTX(nvrtcProgram handle, char *out) {
  BEGIN();
  return give(handle, &Program::ptx, out);
}

API nvrtcResult nvrtcAddNameExpression(nvrtcProgram handle, const char *text) {
  BEGIN();
  Program *program = program_of(handle);
  if (program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!text) return NVRTC_ERROR_INVALID_INPUT;
  if (program->compiled)
    return NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION;
  program->expressions.push_back(text);
  return NVRTC_SUCCESS;
}

// Kernels keep the names of the source here.
API nvrtcResult nvrtcGetLoweredName(nvrtcProgram handle, const char *text,
                                    const char **out) {
  BEGIN();
  Program *program = program_of(handle);
  if (program == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (!text || !out) return NVRTC_ERROR_INVALID_INPUT;
  if (!program->compiled)
    return NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION;
  for (auto &expression : program->expressions)
    if (expression == text) {
      *out = expression.c_str() + (expression[0] == '&');
      return NVRTC_SUCCESS;
    }
  return NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID;
}
