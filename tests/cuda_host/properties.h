// The simulated GPU: the attributes of an H100 (SXM, 80 GB).
#pragma once
#include "core.h"

namespace host {
// Number of a cudaDeviceAttr, which is that of the CUdevice_attribute; -1 when
// there is no such attribute.
inline long attribute_of(int number, int device) {
  switch (number) {
  case 1: case 2: case 3: return 1024;       // threads of a block, x, y
  case 4: return 64;                         // z
  case 5: return 0x7fffffff;                 // blocks of a grid, x
  case 6: case 7: return 65535;              // y, z
  case 8: return SHARED_DEFAULT;             // shared memory of a block
  case 9: return 65536;                      // constant memory
  case 10: return 32;                        // threads of a warp
  case 11: return 0x7fffffff;                // pitch
  case 12: return 65536;                     // registers of a block
  case 13: return 1980000;                   // clock, kHz
  case 16: return 132;                       // multiprocessors
  case 33: return 0x17 + device;             // PCI bus
  case 36: return 2619000;                   // memory clock, kHz
  case 37: return 5120;                      // memory bus, bits
  case 38: return 50 * 1024 * 1024;          // L2 cache
  case 39: return 2048;                      // threads of a multiprocessor
  case 40: return 3;                         // copy engines
  case 75: return 9;                         // compute capability, major
  case 76: return 0;                         // minor
  case 81: return 228 * 1024;                // shared memory, multiprocessor
  case 82: return 65536;                     // registers, multiprocessor
  case 87: return 2;                         // single to double performance
  case 97: return SHARED_OPTIN;              // shared memory of a block, opt-in
  case 106: return 32;                       // blocks of a multiprocessor
  case 111: return 1024;                     // reserved shared memory of a block
  case 14: case 30: case 51: return 512;     // alignments
  case 15: case 19: case 31: case 32: case 41: case 78: case 79: case 80:
  case 83: case 89: case 90: case 91: case 95: case 98: case 99: case 112:
  case 113: case 114: case 115: case 116: case 119: case 120: case 121:
  case 125: return 1;                        // can do
  case 17: case 18: case 20: case 34: case 35: case 50: case 84: case 86:
  case 88: case 100: case 101: case 133: return 0; // cannot do, or number 0
  default: return number > 0 && number < 148 ? 0 : -1;
  }
}
constexpr char DEVICE_NAME[] = "Decaf simulated H100 80GB HBM3";
constexpr int CUDA_VERSION_NUMBER = 13020;
} // namespace host
