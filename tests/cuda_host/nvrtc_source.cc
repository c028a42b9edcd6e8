#include "nvrtc_build.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

namespace host {

namespace {

bool word_char(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }

size_t skip_space(const std::string &s, size_t i) {
  while (i < s.size() && isspace(static_cast<unsigned char>(s[i]))) i++;
  return i;
}

std::string word_at(const std::string &s, size_t i) {
  size_t end = i;
  while (end < s.size() && word_char(s[end])) end++;
  return s.substr(i, end - i);
}

// End of the bracket that opens at i.
size_t skip_bracket(const std::string &s, size_t i) {
  int depth = 0;
  for (; i < s.size(); i++) {
    if (s[i] == '(') depth++;
    if (s[i] == ')' && --depth == 0) return i + 1;
  }
  return i;
}

// Next occurrence of a whole word.
size_t find_word(const std::string &s, const char *word, size_t from) {
  size_t n = strlen(word);
  for (size_t at = s.find(word, from); at != std::string::npos;
       at = s.find(word, at + 1)) {
    bool before = at > 0 && word_char(s[at - 1]);
    bool after = at + n < s.size() && word_char(s[at + n]);
    if (!before && !after) return at;
  }
  return std::string::npos;
}

// The same text with its comments and strings blanked: positions stay.
std::string blanked(const std::string &s) {
  std::string out = s;
  for (size_t i = 0; i < s.size();) {
    size_t end = i;
    if (s.compare(i, 2, "//") == 0) {
      end = s.find('\n', i);
    } else if (s.compare(i, 2, "/*") == 0) {
      end = s.find("*/", i + 2);
      if (end != std::string::npos) end += 2;
    } else if (s[i] == '"') {
      end = i + 1;
      while (end < s.size() && s[end] != '"') end += s[end] == '\\' ? 2 : 1;
      end++;
    } else {
      i++;
      continue;
    }
    if (end > s.size()) end = s.size();
    for (; i < end; i++)
      if (out[i] != '\n') out[i] = ' ';
  }
  return out;
}

struct Entry {
  std::string name;
  int max_threads;
  std::vector<std::string> types; // of its parameters
};

// Types of a parameter list: each parameter without its name.
std::vector<std::string> types_of(const std::string &list) {
  std::vector<std::string> types;
  for (size_t begin = 0; begin <= list.size();) {
    int depth = 0;
    size_t end = begin;
    for (; end < list.size() && (depth > 0 || list[end] != ','); end++)
      depth += list[end] == '<' || list[end] == '(' ? 1
               : list[end] == '>' || list[end] == ')' ? -1
                                                       : 0;
    size_t last = end;
    while (last > begin && !word_char(list[last - 1])) last--;
    while (last > begin && word_char(list[last - 1])) last--;
    std::string type = list.substr(begin, last - begin);
    if (type.find_first_not_of(" \t\n") != std::string::npos)
      types.push_back(type);
    begin = end + 1;
  }
  return types;
}

std::vector<Entry> entries(const std::string &s) {
  std::vector<Entry> found;
  std::set<std::string> names;
  for (size_t at = find_word(s, "__global__", 0); at != std::string::npos;
       at = find_word(s, "__global__", at + 1)) {
    size_t i = skip_space(s, at + strlen("__global__"));
    std::string last;
    int threads = 1024;
    while (i < s.size()) {
      std::string word = word_at(s, i);
      if (!word.empty()) {
        last = word;
        i = skip_space(s, i + word.size());
      } else if (s[i] == '(' && last == "__launch_bounds__") {
        threads = atoi(s.c_str() + i + 1);
        i = skip_space(s, skip_bracket(s, i));
      } else {
        break;
      }
    }
    if (i < s.size() && s[i] == '(' && !last.empty() &&
        names.insert(last).second) {
      size_t close = skip_bracket(s, i) - 1;
      found.push_back({last, threads > 0 ? threads : 1024,
                       types_of(s.substr(i + 1, close - i - 1))});
    }
  }
  return found;
}

// `extern __shared__ T name[];` becomes a pointer to the dynamic shared memory:
// a variable inside a function, a macro outside. The line count stays.
std::string dynamic_shared(const std::string &source, const std::string &bare) {
  std::string out;
  size_t done = 0;
  int depth = 0;
  size_t counted = 0;
  for (size_t at = find_word(bare, "extern", 0); at != std::string::npos;
       at = find_word(bare, "extern", at + 1)) {
    size_t i = skip_space(bare, at + 6);
    if (word_at(bare, i) != "__shared__") continue;
    i += strlen("__shared__");
    size_t end = bare.find(';', i), bracket = bare.rfind('[', end);
    if (end == std::string::npos || bracket == std::string::npos || bracket < i)
      continue;
    std::string declared = bare.substr(i, bracket - i);
    size_t align = declared.find("__align__");
    if (align != std::string::npos)
      declared.erase(align, skip_bracket(declared, align) - align);
    size_t last = declared.find_last_not_of(" \t\n");
    size_t first = last;
    while (first > 0 && word_char(declared[first - 1])) first--;
    std::string name = declared.substr(first, last + 1 - first);
    std::string type = declared.substr(0, first);
    for (; counted < at; counted++)
      depth += bare[counted] == '{' ? 1 : bare[counted] == '}' ? -1 : 0;
    out += source.substr(done, at - done);
    if (depth > 0) {
      out += type + "*" + name + " = (" + type + "*)decaf_simt.shared;";
    } else {
      size_t line = 1;
      for (size_t k = 0; k < at; k++) line += source[k] == '\n';
      std::string one = type;
      for (char &c : one)
        if (c == '\n') c = ' ';
      out += "\n#define " + name + " ((" + one + "*)decaf_simt.shared)\n#line " +
             std::to_string(line) + "\n";
    }
    for (size_t k = at; k < end; k++)
      if (source[k] == '\n') out += '\n';
    done = end + 1;
  }
  return out + source.substr(done);
}

bool threads_meet(const std::string &s) {
  static const char *const WORDS[] = {"__sync", "__shfl", "__ballot", "__any_sync",
                                      "__all_sync", "__reduce_", "__match_"};
  for (auto *word : WORDS)
    if (s.find(word) != std::string::npos) return true;
  return false;
}

std::string bare_type(std::string type) {
  for (auto *word : {"const ", "struct ", "volatile "})
    for (size_t at = type.find(word); at != std::string::npos;
         at = type.find(word))
      type.erase(at, strlen(word));
  size_t first = type.find_first_not_of(" \t\n"), last = type.find_last_not_of(" \t\n");
  return first == std::string::npos ? "" : type.substr(first, last + 1 - first);
}

// Fields of a struct of the source that are addresses; none when there is no
// such struct.
std::vector<std::string> pointer_fields(const std::string &s,
                                        const std::string &type) {
  std::vector<std::string> fields;
  for (size_t at = find_word(s, "struct", 0); at != std::string::npos;
       at = find_word(s, "struct", at + 1)) {
    size_t i = skip_space(s, at + 6);
    if (word_at(s, i) != type) continue;
    i = skip_space(s, i + type.size());
    if (i >= s.size() || s[i] != '{') continue;
    size_t end = s.find('}', i);
    for (size_t begin = i + 1; begin < end;) {
      size_t stop = std::min(s.find(';', begin), end);
      std::string field = s.substr(begin, stop - begin);
      begin = stop + 1;
      if (field.find('*') == std::string::npos ||
          field.find('(') != std::string::npos)
        continue;
      size_t name = std::min(field.find('['), field.size());
      while (name > 0 && !word_char(field[name - 1])) name--;
      size_t first = name;
      while (first > 0 && word_char(field[first - 1])) first--;
      fields.push_back(field.substr(first, name - first));
    }
    break;
  }
  return fields;
}

// Where the parameters of an entry hold addresses: the initialiser of a table
// of triples, and how many.
std::string pointers_of(const std::string &s, const Entry &entry, int *count) {
  std::string out;
  *count = 0;
  auto add = [&](size_t i, const std::string &offset, const std::string &many) {
    out += std::to_string(i) + ", " + offset + ", " + many + ", ";
    (*count)++;
  };
  for (size_t i = 0; i < entry.types.size(); i++) {
    if (entry.types[i].find('*') != std::string::npos) {
      add(i, "0", "1");
      continue;
    }
    std::string type = bare_type(entry.types[i]);
    for (auto &field : pointer_fields(s, type))
      add(i, "__builtin_offsetof(" + type + ", " + field + ")",
          "sizeof(((" + type + " *)0)->" + field + ") / 8");
  }
  return out;
}

// What the runner calls: all threads of a block in a loop, or one thread where
// threads wait for each other.
std::string caller(const Entry &entry, bool meet) {
  std::string call = entry.name + "(";
  for (size_t i = 0; i < entry.types.size(); i++)
    call += (i == 0 ? "*(" : ", *(") + entry.types[i] + " *)args[" +
            std::to_string(i) + "]";
  call += ");\n";
  std::string out = "static void decaf_run_" + entry.name + "(void **args) {\n";
  if (!meet)
    out += "DecafIndex n = decaf_simt.block_dim;\n"
           "for (unsigned z = 0; z < n.z; z++)\n"
           "for (unsigned y = 0; y < n.y; y++)\n"
           "for (unsigned x = 0; x < n.x; x++) {\n"
           "decaf_simt.thread = {x, y, z};\n";
  out += call + (meet ? "}\n" : "}\n}\n");
  for (auto *what : {"sizeof", "alignof"}) {
    out += std::string("static const unsigned decaf_") + what + "_" +
           entry.name + "[] = {";
    for (auto &type : entry.types)
      out += std::string(what) + "(" + type + "), ";
    out += "0};\n";
  }
  return out;
}

} // namespace

KernelText kernel_library(const std::string &source, const std::string &name) {
  std::string bare = blanked(source);
  bool vectors;
  std::string out = needs_of(bare, &vectors);
  out += "#include \"simt.h\"\nnamespace {\n#line 1 \"" + name + "\"\n";
  out += dynamic_shared(source, bare);
  out += "\n#line 1 \"end of " + name + "\"\n";
  auto list = entries(bare);
  bool meet = threads_meet(bare);
  std::vector<int> counts;
  for (auto &entry : list) {
    int count;
    out += caller(entry, meet);
    out += "static const unsigned decaf_pointers_" + entry.name + "[] = {" +
           pointers_of(bare, entry, &count) + "0};\n";
    counts.push_back(count);
  }
  out += "}\nextern \"C\" {\n"
         "__attribute__((visibility(\"default\"))) const DecafKernel "
         "*decaf_kernels(int *count) {\n"
         "static const DecafKernel list[] = {\n";
  for (size_t i = 0; i < list.size(); i++) {
    auto &entry = list[i];
    auto &n = entry.name;
    std::string run = "decaf_run_" + n;
    out += "{\"" + n + "\", " + (meet ? "0, " + run : run + ", 0") + ", " +
           std::to_string(entry.types.size()) + ", decaf_sizeof_" + n +
           ", decaf_alignof_" + n + ", decaf_pointers_" + n + ", " +
           std::to_string(counts[i]) + ", " + std::to_string(entry.max_threads) +
           ", " + (meet ? "1" : "0") + "},\n";
  }
  out += "{}};\n*count = " + std::to_string(list.size()) +
         ";\nreturn list;\n}\n"
         "extern char __start_decaf_shared[] "
         "__attribute__((weak, visibility(\"hidden\")));\n"
         "extern char __stop_decaf_shared[] "
         "__attribute__((weak, visibility(\"hidden\")));\n"
         "__attribute__((visibility(\"default\"))) void "
         "decaf_shared_range(char **begin, unsigned *bytes) {\n"
         "*begin = __start_decaf_shared;\n"
         "*bytes = unsigned(__stop_decaf_shared - __start_decaf_shared);\n"
         "}\n}\n";
  bool checked = vectors || bare.find("__shared__") != std::string::npos;
  return {out, checked, {}};
}

} // namespace host
