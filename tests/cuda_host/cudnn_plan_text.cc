// Plans as text, as cuDNN gives and takes them.
#include "cudnn_stand_in.h"

#include <cstdio>
#include <cstring>

namespace dnn {

namespace {

void put(std::string &out, const void *bytes, size_t size) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < size; i++) {
    uint8_t b = static_cast<const uint8_t *>(bytes)[i];
    out += digits[b >> 4];
    out += digits[b & 15];
  }
}
void put(std::string &out, int64_t n) { put(out, &n, 8); }

void write(std::string &out, const Ref &d, std::map<Descriptor *, int64_t> &done) {
  auto [it, fresh] = done.emplace(d.get(), int64_t(done.size()));
  put(out, it->second);
  if (!fresh) return;
  put(out, d->kind);
  put(out, int64_t(d->values.size()));
  for (const auto &[name, v] : d->values) {
    put(out, name);
    put(out, v.type);
    put(out, v.count);
    if (v.refs.empty()) put(out, v.bytes.data(), v.bytes.size());
    for (const Ref &r : v.refs) write(out, r, done);
  }
}

// Reads hexadecimal bytes; `good` turns false at the first fault.
struct Reader {
  const std::string &text;
  size_t at, end;
  bool good = true;
  std::vector<Ref> done;

  void take(void *bytes, size_t size) {
    if (!good || at + 2 * size > end) {
      good = false;
      memset(bytes, 0, size);
      return;
    }
    for (size_t i = 0; i < size; i++, at += 2) {
      unsigned value = 0;
      if (sscanf(text.substr(at, 2).c_str(), "%2x", &value) != 1) good = false;
      static_cast<uint8_t *>(bytes)[i] = uint8_t(value);
    }
  }
  int64_t number() {
    int64_t n;
    take(&n, 8);
    return n;
  }
  Ref descriptor() {
    int64_t which = number();
    if (which < int64_t(done.size())) return good ? done[size_t(which)] : nullptr;
    Ref d = std::make_shared<Descriptor>();
    done.push_back(d);
    d->kind = int(number());
    d->finalized = true;
    int64_t names = number();
    for (int64_t i = 0; good && i < names; i++) {
      int name = int(number());
      Values v;
      v.type = int(number());
      v.count = number();
      if (v.count < 0 || v.count > 1 << 16) good = false;
      if (!good) break;
      if (v.type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t k = 0; good && k < v.count; k++)
          v.refs.push_back(descriptor());
      else {
        v.bytes.resize(size_t(v.count) * size_of_type(v.type));
        take(v.bytes.data(), v.bytes.size());
      }
      d->values[name] = std::move(v);
    }
    return d;
  }
};

} // namespace

std::string plan_text(const Descriptor &plan) {
  std::string blob;
  put(blob, plan.engine.index);
  put(blob, plan.engine.workspace);
  put(blob, int64_t(plan.operations.size()));
  std::map<Descriptor *, int64_t> done;
  for (const Ref &op : plan.operations) write(blob, op, done);
  return "{\"version\":" + std::to_string(CUDNN_VERSION) + ",\"plan\":\"" +
         blob + "\"}";
}

cudnnStatus_t read_plan(Descriptor &plan) {
  const auto &bytes =
      plan.values[CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION].bytes;
  std::string text(bytes.begin(), bytes.end());
  std::string head =
      "{\"version\":" + std::to_string(CUDNN_VERSION) + ",\"plan\":\"";
  size_t end = text.find("\"}");
  if (text.compare(0, head.size(), head) != 0 || end == std::string::npos)
    return refuse(CUDNN_STATUS_SERIALIZATION_VERSION_MISMATCH,
                  "no plan of version %d", CUDNN_VERSION);
  Reader reader{text, head.size(), end, true, {}};
  plan.engine.index = reader.number();
  plan.engine.workspace = reader.number();
  int64_t operations = reader.number();
  for (int64_t i = 0; reader.good && i < operations; i++)
    plan.operations.push_back(reader.descriptor());
  return reader.good ? CUDNN_STATUS_SUCCESS
                     : refuse(CUDNN_STATUS_INTERNAL_ERROR, "a plan cut short");
}

} // namespace dnn
