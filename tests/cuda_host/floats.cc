// Storage types of two bytes.
#include "host.h"

#include <cstring>

namespace host {

namespace {
uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}
float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
} // namespace

float bf16_to_float(uint16_t bits) { return float_of(uint32_t(bits) << 16); }

uint16_t float_to_bf16(float value) {
  uint32_t bits = bits_of(value);
  if (value != value) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float half_to_float(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, rest = bits & 0x7fff;
  if (rest >= 0x7c00) return float_of(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  if (rest >= 0x400) return float_of(sign | ((rest << 13) + 0x38000000));
  // Subnormal: the mantissa counts steps of 2^-24.
  float magnitude = float(rest) * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

uint16_t float_to_half(float value) {
  uint32_t bits = bits_of(value);
  uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  uint32_t rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return uint16_t(sign | 0x7e00);
  if (rest >= 0x477ff000) return uint16_t(sign | 0x7c00);
  if (rest < 0x38800000) {
    // Adding 0.5 leaves the value in steps of 2^-24, rounded to nearest even.
    float shifted = float_of(rest) + 0.5f;
    return uint16_t(sign | (bits_of(shifted) - bits_of(0.5f)));
  }
  uint32_t odd = rest >> 13 & 1;
  return uint16_t(sign | ((rest - 0x38000000 + 0xfff + odd) >> 13));
}

float float_to_tf32(float value) {
  uint32_t bits = bits_of(value);
  if ((bits & 0x7f800000) == 0x7f800000) return value;
  return float_of((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}

} // namespace host
