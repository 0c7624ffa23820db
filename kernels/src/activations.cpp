// Activations by themselves.
#include <algorithm>
#include <cmath>

#include "attributes.h"
#include "kernels.h"

namespace domino {

NmActivation::NmActivation(const Node& node, const Implementation& use)
    : kernel_(*use.floats),
      scale_(node.number("scale", 1.0f)),
      offset_(node.number("offset", 0.0f)),
      activation_(activation_of(node)) {
  if (!std::isfinite(scale_) || !std::isfinite(offset_)) throw Refused("scale or offset is not finite");
}

void NmActivation::operator()(const Call& call) const {
  constexpr int64_t kPart = 4096;  // floats of a task, which stay in the first-level cache
  const std::optional<Tensor> x = call.input(kX);
  if (!x) throw Refused("the input X is missing");
  const int64_t size = x->size();
  const Tensor y = call.output(x->shape);
  if (!size) return;
  for_each(call.parallel(), static_cast<size_t>((size + kPart - 1) / kPart), [&](size_t part) {
    const int64_t first = static_cast<int64_t>(part) * kPart, count = std::min(kPart, size - first);
    kernel_.map(x->as<float>() + first, count, scale_, offset_, activation_, y.as<float>() + first);
  });
}

}  // namespace domino
