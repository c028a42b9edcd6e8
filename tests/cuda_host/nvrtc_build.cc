// Compiles kernels. The compiler, the assembler and the linker are called
// themselves and not through g++, which saves a quarter of the time.
#include "nvrtc_build.h"
#include "core.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace host {

namespace {

using Words = std::vector<std::string>;

const Words FLAGS = {"-quiet", "-std=gnu++2a", "-O1", "-w", "-fPIC",
                     "-nostdinc", "-fno-exceptions", "-fno-rtti",
                     "-fno-strict-aliasing", "-fno-math-errno",
                     "-fno-stack-protector", "-ffp-contract=off",
                     "-fvisibility=hidden", "-fmax-errors=20",
                     "-fdiagnostics-color=never",
                     "-fno-diagnostics-show-caret"};

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

// Exit status of a program; what it says goes into a file.
int run(const Words &words, const std::string &log) {
  std::vector<char *> arguments, environment;
  for (auto &word : words)
    arguments.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
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

// Where g++ has one of its programs.
std::string program(const char *name, const std::string &log) {
  const char *compiler = getenv("DECAF_CUDA_HOST_CXX");
  std::string ask = std::string("-print-prog-name=") + name;
  if (run({compiler ? compiler : "g++", ask}, log) != 0) return name;
  std::string path = read_all(log);
  return path.substr(0, path.find('\n'));
}

struct Programs {
  std::string compiler, assembler, linker;
};
const Programs &programs(const std::string &log) {
  static const auto *found = new Programs{
      program("cc1plus", log), program("as", log), program("ld", log)};
  return *found;
}

// Makes stem.so of stem.cc.
bool make(const std::string &stem, const KernelText &kernels,
          std::string *log) {
  std::string said = stem + ".log";
  const Programs &with = programs(said);
  Words compile = {with.compiler};
  compile.insert(compile.end(), FLAGS.begin(), FLAGS.end());
  compile.insert(compile.end(), kernels.defines.begin(),
                 kernels.defines.end());
  if (kernels.checked)
    compile.insert(compile.end(), {"-fsanitize=alignment,bounds",
                                   "-fno-sanitize-recover=all"});
  compile.insert(compile.end(),
                 {"-iquote", home(), "-o", stem + ".s", stem + ".cc"});
  const Words steps[] = {
      compile,
      {with.assembler, "-o", stem + ".o", stem + ".s"},
      // In few pieces: a process may map no more than some 65,000.
      {with.linker, "-shared", "-z", "noseparate-code", "-z", "norelro", "-o",
       stem + ".so", stem + ".o", home() + "/libdecafhost.so"},
  };
  for (auto &step : steps) {
    if (run(step, said) == 0) continue;
    *log = read_all(said);
    if (log->empty()) *log = "cannot run " + step[0];
    return false;
  }
  return true;
}

} // namespace

std::string build_kernels(const KernelText &kernels, std::string *log) {
  std::string key = kernels.text;
  for (auto &define : kernels.defines) key += '\n' + define;
  char name[40];
  snprintf(name, sizeof name, "%016llx%016llx",
           (unsigned long long)hash64(key.data(), key.size(), 1),
           (unsigned long long)hash64(key.data(), key.size(), 2));
  const char *shared = getenv("DECAF_CUDA_HOST_KERNELS");
  std::string folder = shared ? shared : home() + "/kernels";
  std::string file = folder + "/" + name + ".so";
  if (exists(file)) return file;
  mkdir(folder.c_str(), 0755);
  static std::atomic<int> next{0};
  std::string stem = folder + "/" + name + "." + std::to_string(getpid()) + "." +
                     std::to_string(next++);
  if (!write_all(stem + ".cc", kernels.text)) {
    *log = "cannot write " + stem + ".cc";
    return "";
  }
  bool made = make(stem, kernels, log) &&
              rename((stem + ".so").c_str(), file.c_str()) == 0;
  for (auto *end : {".cc", ".s", ".o", ".so", ".log"})
    unlink((stem + end).c_str());
  return made ? file : "";
}

} // namespace host
