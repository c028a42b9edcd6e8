// Elements of NCCL's types, combined by plain loops.
#include "nccl_ranks.h"

namespace nccl {

size_t width(int type) {
  switch (type) {
  case ncclInt8:
  case ncclUint8: return 1;
  case ncclFloat16:
  case ncclBfloat16: return 2;
  case ncclInt32:
  case ncclUint32:
  case ncclFloat32: return 4;
  case ncclInt64:
  case ncclUint64:
  case ncclFloat64: return 8;
  }
  return 0;
}

namespace {

template <class T> T combine(T a, T b, int op) {
  switch (op) {
  case ncclProd: return a * b;
  case ncclMax: return a > b ? a : b;
  case ncclMin: return a < b ? a : b;
  }
  return a + b;
}

// Elements as they are computed with, and as they are stored.
template <class S, class W> struct Plain {
  static W load(S s) { return (W)s; }
  static S store(W w) { return (S)w; }
};
struct Half {
  static float load(uint16_t s) { return host::half_to_float(s); }
  static uint16_t store(float w) { return host::float_to_half(w); }
};
struct Bf16 {
  static float load(uint16_t s) { return host::bf16_to_float(s); }
  static uint16_t store(float w) { return host::float_to_bf16(w); }
};

template <class S, class W, class C>
void reduce_as(const std::vector<const char *> &parts, char *out, size_t count,
               int op) {
  for (size_t i = 0; i < count; i++) {
    W value = C::load(((const S *)parts[0])[i]);
    for (size_t r = 1; r < parts.size(); r++)
      value = combine<W>(value, C::load(((const S *)parts[r])[i]), op);
    if (op == ncclAvg) value = (W)(value / (W)parts.size());
    ((S *)out)[i] = C::store(value);
  }
}

} // namespace

void reduce(const std::vector<const char *> &parts, char *out, size_t count,
            int type, int op) {
  switch (type) {
  case ncclInt8: return reduce_as<int8_t, int64_t, Plain<int8_t, int64_t>>(parts, out, count, op);
  case ncclUint8: return reduce_as<uint8_t, uint64_t, Plain<uint8_t, uint64_t>>(parts, out, count, op);
  case ncclInt32: return reduce_as<int32_t, int64_t, Plain<int32_t, int64_t>>(parts, out, count, op);
  case ncclUint32: return reduce_as<uint32_t, uint64_t, Plain<uint32_t, uint64_t>>(parts, out, count, op);
  case ncclInt64: return reduce_as<int64_t, int64_t, Plain<int64_t, int64_t>>(parts, out, count, op);
  case ncclUint64: return reduce_as<uint64_t, uint64_t, Plain<uint64_t, uint64_t>>(parts, out, count, op);
  case ncclFloat16: return reduce_as<uint16_t, float, Half>(parts, out, count, op);
  case ncclBfloat16: return reduce_as<uint16_t, float, Bf16>(parts, out, count, op);
  case ncclFloat32: return reduce_as<float, float, Plain<float, float>>(parts, out, count, op);
  case ncclFloat64: return reduce_as<double, double, Plain<double, double>>(parts, out, count, op);
  }
}

} // namespace nccl
