// What int8 kernels in 256 bits have in common: 8 outputs, and windows of 16 bytes that each half of a vector repeats.
//
// All of it is in a namespace without a name: each instruction set compiles its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 8, kWindow = 16, kPixels = 8;

struct Wide {
  using Sum = __m256i;
  using Window = __m256i;
  using Word = __m256i;

  static Sum zero() { return _mm256_setzero_si256(); }
  static Window window(const uint8_t* from) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Word word(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
  static void store(Sum sum, int32_t* to) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum); }
};

}  // namespace
}  // namespace domino
