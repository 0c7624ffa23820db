// int8 in plain C++: what all other kernels are held against.
#include <cstdint>

namespace domino {
namespace {

constexpr int kLanes = 8, kWindow = 64, kSlots = 4, kPixels = 8;
constexpr bool kHoldsWindows = true;

struct Step {
  struct Sum {
    int32_t of[kLanes];
  };
  using Window = const uint8_t*;
  using Word = const uint8_t*;
  typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));

  static Sum zero() { return {}; }
  static Window window(const uint8_t* from) { return from; }
  static Word word(const uint8_t* from) { return from; }
  static Sum add(Sum sum, Window window, Word pick, Word weight) {
    for (int i = 0; i < kLanes * kSlots; ++i) {
      sum.of[i / kSlots] += window[pick[i]] * static_cast<int8_t>(weight[i]);
    }
    return sum;
  }
  static void keep(Sum&) {}
  static void keep(Floats&) {}
  static Sum less(Sum sum, int32_t factor, const int32_t* values) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sum.of[lane] = static_cast<int32_t>(static_cast<uint32_t>(sum.of[lane]) -
                                          static_cast<uint32_t>(factor) * static_cast<uint32_t>(values[lane]));
    }
    return sum;
  }
  static Floats load(const float* from) {
    Floats values;
    __builtin_memcpy(&values, from, sizeof values);
    return values;
  }
  static void store(Floats value, float* to) { __builtin_memcpy(to, &value, sizeof value); }
  static Floats splat(float value) { return Floats{} + value; }
  static Floats of_sum(const Sum& sum) {
    Floats values;
    for (int lane = 0; lane < kLanes; ++lane) values[lane] = static_cast<float>(sum.of[lane]);
    return values;
  }
  static Floats of_bytes(const uint8_t* from) {
    Floats values;
    for (int lane = 0; lane < kLanes; ++lane) values[lane] = static_cast<float>(from[lane]);
    return values;
  }
  static Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
  static Floats larger(Floats a, Floats b) { return a > b ? a : b; }
  static Floats fused(Floats a, Floats b, Floats c) {
    for (int lane = 0; lane < kLanes; ++lane) a[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
    return a;
  }
  static Floats times_power(Floats value, Floats shifted) {
    typedef int32_t Bits __attribute__((vector_size(sizeof(Floats))));
    return value * (Floats)(((Bits)shifted << 23) + 0x3f800000);
  }
  static Floats limited(Floats value, Floats low, Floats high) { return smaller(larger(value, low), high); }
  static void store_nearest(Floats value, int32_t more, uint8_t* to) {
    constexpr float kShift = 12582912.0f;  // rounds to the nearest even
    const auto by = static_cast<float>(more);
    store_whole(limited(limited(value, splat(-256.0f), splat(256.0f)) + kShift - kShift + by, splat(0), splat(255)), to);
  }
  static void store_bytes(Floats value, uint8_t* to) {
    constexpr float kShift = 12582912.0f;
    store_whole(value + kShift - kShift, to);
  }

 private:
  static void store_whole(Floats value, uint8_t* to) {
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = static_cast<uint8_t>(static_cast<int32_t>(value[lane]));
  }
};

}  // namespace
}  // namespace domino

#define BYTE_NAME bytes_plain
#include "byte_kernel.inc"
