#include "nvrtc_build.h"

#include <cctype>
#include <cstring>
#include <set>

namespace host {

namespace {

using Words = std::set<std::string>;

// Functions of one argument, and of two, each with a twin in single precision.
const Words ONE = {
    "acos",  "acosh", "asin",  "asinh", "atan",      "atanh",  "cbrt",
    "ceil",  "cos",   "cosh",  "erf",   "erfc",      "exp",    "exp2",
    "expm1", "fabs",  "floor", "lgamma", "log",      "log10",  "log1p",
    "log2",  "logb",  "rint",  "round", "nearbyint", "sin",    "sinh",
    "sqrt",  "tan",   "tanh",  "tgamma", "trunc"};
const Words TWO = {"atan2", "copysign", "fdim",      "fmax", "fmin",
                   "fmod",  "hypot",    "nextafter", "pow",  "remainder"};
const Words VECTORS = {"char",  "uchar",    "short",     "ushort",
                       "int",   "uint",     "long",      "ulong",
                       "float", "longlong", "ulonglong", "double"};
// Functions of simt_math.h that are in none of its smaller parts.
const Words OTHER = {
    "exp10",  "exp10f",  "fma",     "fmaf",    "ldexp",  "ldexpf",
    "frexp",  "frexpf",  "modf",    "modff",   "j0",     "j1",
    "sincos", "sincosf", "lrint",   "lrintf",  "llrint", "llrintf",
    "abs",    "labs",    "llabs",   "rsqrt",   "rsqrtf", "rcbrt",
    "rcbrtf", "sinpi",   "sinpif",  "cospi",   "cospif", "fdividef",
    "erfcx",  "normcdf", "normcdff", "erfcxf"};
const Words ORDER = {"min", "max", "umin", "umax", "__sad"};

// Parts by the beginning of a name.
struct Part {
  const char *begin, *part;
};
const Part PARTS[] = {
    {"__float_as_", "bits"},   {"__int_as_", "bits"},
    {"__uint_as_", "bits"},    {"__double_as_", "bits"},
    {"__longlong_as_", "bits"}, {"__double2hiint", "bits"},
    {"__double2loint", "bits"}, {"__hiloint2double", "bits"},
    {"__popc", "count"},       {"__clz", "count"},
    {"__ffs", "count"},        {"__brev", "count"},
    {"__byte_perm", "count"},  {"__funnelshift", "count"},
    {"__mulhi", "count"},      {"__umulhi", "count"},
    {"__mul64hi", "count"},    {"__umul64hi", "count"},
    {"__ld", "load"},          {"__st", "load"},
    {"__shfl", "warp"},        {"__ballot", "warp"},
    {"__any", "warp"},         {"__all", "warp"},
    {"__reduce", "warp"},      {"__match", "warp"},
    {"__syncwarp", "warp"},    {"__activemask", "warp"},
    {"__float2", "convert"},   {"__double2", "convert"},
    {"__int2", "convert"},     {"__uint2", "convert"},
    {"__ll2", "convert"},      {"__ull2", "convert"},
    {"atomic", "atomic"},
};
// Words with two underscores that stand for no function of simt_math.h.
const Words PLAIN = {"__global__",      "__device__",      "__host__",
                     "__shared__",      "__forceinline__", "__launch_bounds__",
                     "__restrict__",    "__constant__",    "__align__",
                     "__syncthreads",   "__threadfence",   "__CUDACC_RTC__",
                     "__grid_constant__", "__noinline__",  "__CUDA_ARCH__"};

Words words_of(const std::string &s) {
  Words words;
  for (size_t i = 0; i < s.size();) {
    auto word = [&](size_t k) {
      return isalnum(static_cast<unsigned char>(s[k])) || s[k] == '_';
    };
    size_t end = i;
    while (end < s.size() && word(end)) end++;
    if (end == i) {
      i++;
      continue;
    }
    words.insert(s.substr(i, end - i));
    i = end;
  }
  return words;
}

// `float` of `float4` and `make_float4`; empty when the word is no vector.
std::string vector_of(std::string word) {
  if (word.compare(0, 5, "make_") == 0) word.erase(0, 5);
  if (word.size() < 2 || strchr("1234", word.back()) == nullptr) return "";
  word.pop_back();
  return VECTORS.count(word) ? word : "";
}

} // namespace

std::string needs_of(const std::string &source, bool *vectors) {
  Words parts, one, two;
  *vectors = false;
  for (auto &word : words_of(source)) {
    std::string stem = word;
    if (!stem.empty() && stem.back() == 'f' && ONE.count(stem) == 0 &&
        TWO.count(stem) == 0)
      stem.pop_back();
    if (ONE.count(stem)) one.insert(stem);
    if (TWO.count(stem)) two.insert(stem);
    if (OTHER.count(word)) parts.insert("math");
    if (ORDER.count(word)) parts.insert("order");
    std::string vector = vector_of(word);
    if (!vector.empty()) parts.insert(vector);
    *vectors |= !vector.empty();
    bool known = PLAIN.count(word) != 0;
    for (auto &part : PARTS)
      if (word.compare(0, strlen(part.begin), part.begin) == 0) {
        parts.insert(part.part);
        known = true;
      }
    if (!known && word.compare(0, 2, "__") == 0) parts.insert("fast");
  }
  std::string out;
  for (auto &part : parts) out += "#define DECAF_NEEDS_" + part + "\n";
  if (!one.empty() || !two.empty()) {
    out += "#define DECAF_FUNCTIONS";
    for (auto &name : one) out += " DECAF_MATH1(" + name + ")";
    for (auto &name : two) out += " DECAF_MATH2(" + name + ")";
    out += "\n";
  }
  return out;
}

} // namespace host
