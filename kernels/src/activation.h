// What a product does with its sums before they go out.
#pragma once

#include <cstdint>

namespace domino {

enum class ActivationKind : int32_t { kNone, kHardSwish, kSwish, kGelu, kGeluTanh };

// y = f(x) * gain + shift. HardSwish: x * clamp(x / 6 + 1/2, 0, 1). Swish: x * sigmoid(alpha * x). Gelu: by erf, or by
// tanh as ONNX's approximation has it.
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 1, gain = 1, shift = 0;

  explicit operator bool() const { return kind != ActivationKind::kNone; }
};

struct Clamp {
  float low, high;
};

// Bounds first, then the activation.
struct Epilogue {
  Clamp clamp;
  Activation activation{};
};

}  // namespace domino
