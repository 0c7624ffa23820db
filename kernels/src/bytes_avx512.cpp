// int8 in AVX-512 with VBMI and VNNI: vpermb picks four of 64 bytes an output, vpdpbusd multiplies and adds them.
#include <immintrin.h>

#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 16, kWindow = 64, kSlots = 4, kPixels = 14;
constexpr bool kHoldsWindows = true;

struct Step {
  using Sum = __m512i;
  using Window = __m512i;
  using Word = __m512i;
  using Floats = __m512;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Window window(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static Word word(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    return _mm512_dpbusd_epi32(sum, _mm512_permutexvar_epi8(pick, window), weight);
  }
  static void keep(Sum& sum) { __asm__("" : "+v"(sum)); }
  static void keep(Floats& values) { __asm__("" : "+v"(values)); }
  static Sum less(Sum sum, int32_t factor, const int32_t* values) {
    return _mm512_sub_epi32(sum, _mm512_mullo_epi32(_mm512_set1_epi32(factor), _mm512_loadu_si512(values)));
  }
  static Floats load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(Floats value, float* to) { _mm512_storeu_ps(to, value); }
  static Floats splat(float value) { return _mm512_set1_ps(value); }
  static Floats of_sum(Sum sum) { return _mm512_cvtepi32_ps(sum); }
  static Floats of_bytes(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }
  static Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats fused(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats times_power(Floats value, Floats shifted) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return value * _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)));
  }
  static Floats limited(Floats value, Floats low, Floats high) { return smaller(larger(value, low), high); }
  static void store_nearest(Floats value, int32_t more, uint8_t* to) {
    const __m512i sum = _mm512_add_epi32(_mm512_cvtps_epi32(value), _mm512_set1_epi32(more));
    const __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(sum, _mm512_setzero_si512()));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  }
  static void store_bytes(Floats value, uint8_t* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value)));
  }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_avx512
#include "byte_kernel.inc"
