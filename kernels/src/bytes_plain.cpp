// int8 in plain C++: what all other kernels are held against.
#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 8, kWindow = 64, kSlots = 4, kPixels = 8;

struct Step {
  struct Sum {
    int32_t of[kLanes];
  };
  using Window = const uint8_t*;
  using Word = const uint8_t*;

  static Sum zero() { return {}; }
  static Window window(const uint8_t* from) { return from; }
  static Word word(const uint8_t* from) { return from; }
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    for (int i = 0; i < kLanes * kSlots; ++i) {
      sum.of[i / kSlots] += window[pick[i]] * static_cast<int8_t>(weight[i]);
    }
    return sum;
  }
  static void store(const Sum& sum, int32_t* to) {
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = sum.of[lane];
  }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_plain
#include "byte_kernel.inc"
