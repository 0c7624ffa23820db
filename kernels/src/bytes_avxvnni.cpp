// int8 in 256 bits with AVX-VNNI: vpshufb picks four bytes an output, vpdpbusd multiplies and adds them.
#include "bytes_256.h"

namespace domino {
namespace {

constexpr int kSlots = 4;

struct Step : Wide {
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    return _mm256_dpbusd_avx_epi32(sum, _mm256_shuffle_epi8(window, pick), weight);
  }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_avxvnni
#include "byte_kernel.inc"
