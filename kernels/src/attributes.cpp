#include "attributes.h"

#include <cmath>
#include <limits>

namespace domino {

Activation activation_of(const Node& node) {
  const std::pair<const char*, ActivationKind> known[] = {{"HardSwish", ActivationKind::kHardSwish},
                                                          {"Swish", ActivationKind::kSwish},
                                                          {"Gelu", ActivationKind::kGelu},
                                                          {"GeluTanh", ActivationKind::kGeluTanh}};
  const std::optional<std::string> name = node.text("activation");
  if (!name) {
    for (const char* its : {"alpha", "gain", "shift"}) {
      if (node.has_attribute(its)) throw Refused(std::string("there is ") + its + " without an activation");
    }
    return {};
  }
  for (const auto& [its_name, kind] : known) {
    if (*name != its_name) continue;
    const Activation found{kind, node.number("alpha", 1), node.number("gain", 1), node.number("shift", 0)};
    for (const float each : {found.alpha, found.gain, found.shift}) {
      if (!std::isfinite(each)) throw Refused("alpha, gain or shift is not finite");
    }
    return found;
  }
  throw Refused("activation is " + *name + ", which is none that it knows");
}

Epilogue epilogue_of(const Node& node) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Epilogue found{{node.number("min", -kInfinity), node.number("max", kInfinity)}, activation_of(node)};
  if (!(found.clamp.low <= found.clamp.high)) throw Refused("min is not below max");
  return found;
}

std::vector<float> floats_of(const Node& node, size_t index, const char* name, int64_t count) {
  const Tensor tensor = node.stored(index, name);
  if (tensor.size() != count) throw Refused(std::string("the input ") + name + " has not a value for each output");
  return {tensor.as<float>(), tensor.as<float>() + count};
}

std::vector<float> bias_of(const Node& node, size_t index, int64_t count) {
  if (!node.is_given(index)) return std::vector<float>(static_cast<size_t>(count), 0.0f);
  return floats_of(node, index, "bias", count);
}

Convolution convolution_of(const Node& node) {
  Convolution convolution;
  convolution.weight = node.integers("weight_shape");
  convolution.groups = node.integer("group");
  convolution.strides = node.integers("strides");
  convolution.dilations = node.integers("dilations");
  convolution.pads = node.integers("pads");
  convolution.check();
  return convolution;
}

Tensor given(const Call& call, size_t index) {
  std::optional<Tensor> tensor = call.input(index);
  if (!tensor) throw Refused("the input X is missing");
  return *tensor;
}

float scale_of(const Node& node) {
  const float scale = node.number("scale", 0.0f);
  if (!(scale > 0.0f) || scale > 3e38f) throw Refused("scale is not positive");
  return scale;
}

int32_t zero_point_of(const Node& node) {
  const int64_t zero_point = node.integer("zero_point");
  if (zero_point < 0 || zero_point > 255) throw Refused("zero_point is not 0 to 255");
  return static_cast<int32_t>(zero_point);
}

Tensor image_of(const Call& call) {
  const Tensor x = given(call, 0);
  if (x.shape.size() < 3) throw Refused("X has not an axis in space");
  return x;
}

}  // namespace domino
