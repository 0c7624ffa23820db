// int8 in AVX-512 with VBMI and VNNI: vpermb picks four of 64 bytes an output, vpdpbusd multiplies and adds them.
#include <immintrin.h>

#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 16, kWindow = 64, kSlots = 4, kPixels = 14;

struct Step {
  using Sum = __m512i;
  using Window = __m512i;
  using Word = __m512i;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Window window(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static Word word(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    return _mm512_dpbusd_epi32(sum, _mm512_permutexvar_epi8(pick, window), weight);
  }
  static void store(Sum sum, int32_t* to) { _mm512_storeu_si512(to, sum); }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_avx512
#include "byte_kernel.inc"
