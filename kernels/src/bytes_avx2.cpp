// int8 in AVX2: vpshufb picks two bytes an output as 16-bit numbers, vpmaddwd multiplies and adds them.
//
// vpmaddubsw would take four bytes, but adds pairs of products in 16 bits, where 2 x 255 x 127 doesn't fit.
#include <immintrin.h>

#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 8, kWindow = 16, kSlots = 2, kPixels = 8;

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
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(window, pick), weight));
  }
  static void store(Sum sum, int32_t* to) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum); }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_avx2
#include "byte_kernel.inc"
