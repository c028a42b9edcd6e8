// What a running kernel and the runner share. No system header: kernels include
// this too.
#pragma once

struct DecafIndex {
  unsigned x, y, z;
};
struct DecafSimt {
  DecafIndex thread, block, block_dim, grid_dim;
  char *shared;
};
extern "C" {
extern __thread DecafSimt decaf_simt
    __attribute__((tls_model("initial-exec"), visibility("default")));
__attribute__((visibility("default"))) void decaf_sync(int line);
__attribute__((visibility("default"))) int decaf_sync_count(int line, int vote);
__attribute__((visibility("default"))) unsigned long long
decaf_warp(unsigned mask, unsigned long long value, int kind, int lane,
           int width, int line);
}

enum {
  DECAF_SYNC,
  DECAF_SHUFFLE,
  DECAF_SHUFFLE_XOR,
  DECAF_SHUFFLE_UP,
  DECAF_SHUFFLE_DOWN,
  DECAF_BALLOT,
  DECAF_ALL,
  DECAF_ANY,
  DECAF_SUM,
  DECAF_MIN,
  DECAF_MAX,
  DECAF_AND,
  DECAF_OR,
  DECAF_XOR,
  DECAF_MATCH,
};
