// NVRTC. The machine code that a program gets is a note that names the file of
// a small shared library (nvrtc_build.cc).
#include "core.h"
#include "nvrtc_build.h"

#include <nvrtc.h>

#include <cstdlib>
#include <cstring>

#define API extern "C" __attribute__((visibility("default")))
#define BEGIN() HOST_ENTER("nvrtc", nvrtcResult)

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
  KernelText text = kernel_library(program->source, program->name);
  text.defines = chosen.defines;
  std::string file = build_kernels(text, &program->log);
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
