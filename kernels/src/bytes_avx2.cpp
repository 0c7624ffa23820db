// int8 in AVX2: vpshufb picks two bytes an output as 16-bit numbers, vpmaddwd multiplies and adds them.
//
// vpmaddubsw would take four bytes, but adds pairs of products in 16 bits, where 2 x 255 x 127 doesn't fit.
#include "bytes_256.h"

namespace domino {
namespace {

constexpr int kSlots = 2;

struct Step : Wide {
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(window, pick), weight));
  }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_avx2
#include "byte_kernel.inc"
