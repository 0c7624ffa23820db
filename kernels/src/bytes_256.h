// What int8 kernels in 256 bits have in common: 8 outputs, and windows of 16 bytes that each half of a vector repeats.
//
// All of it is in a namespace without a name: each instruction set compiles its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 8, kWindow = 16, kPixels = 8;
constexpr bool kHoldsWindows = false;

struct Wide {
  using Sum = __m256i;
  using Window = __m256i;
  using Word = __m256i;
  using Floats = __m256;

  static Sum zero() { return _mm256_setzero_si256(); }
  static Window window(const uint8_t* from) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Word word(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
  static void keep(Sum& sum) { __asm__("" : "+x"(sum)); }
  static void keep(Floats& values) { __asm__("" : "+x"(values)); }
  static Sum less(Sum sum, int32_t factor, const int32_t* values) {
    const __m256i by = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
    return _mm256_sub_epi32(sum, _mm256_mullo_epi32(_mm256_set1_epi32(factor), by));
  }
  static Floats load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(Floats value, float* to) { _mm256_storeu_ps(to, value); }
  static Floats splat(float value) { return _mm256_set1_ps(value); }
  static Floats of_sum(Sum sum) { return _mm256_cvtepi32_ps(sum); }
  static Floats of_bytes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
  static Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats times_power(Floats value, Floats shifted) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return value * _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
  }
  static Floats limited(Floats value, Floats low, Floats high) { return smaller(larger(value, low), high); }
  static void store_nearest(Floats value, int32_t more, uint8_t* to) {
    const __m256i whole = _mm256_add_epi32(_mm256_cvtps_epi32(value), _mm256_set1_epi32(more));
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
  }
  static void store_bytes(Floats value, uint8_t* to) { store_nearest(value, 0, to); }
};

}  // namespace
}  // namespace domino
