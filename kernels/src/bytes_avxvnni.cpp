// int8 in 256 bits with AVX-VNNI: vpshufb picks four bytes an output, vpdpbusd multiplies and adds them.
#include <immintrin.h>

#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 8, kWindow = 16, kSlots = 4, kPixels = 8;

struct Step {
  using Sum = __m256i;
  using Window = __m256i;
  using Word = __m256i;

  static Sum zero() { return _mm256_setzero_si256(); }
  static Window window(const uint8_t* from) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Word word(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    return _mm256_dpbusd_avx_epi32(sum, _mm256_shuffle_epi8(window, pick), weight);
  }
  static void store(Sum sum, int32_t* to) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum); }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_avxvnni
#include "byte_kernel.inc"
