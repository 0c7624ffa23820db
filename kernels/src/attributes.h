// What operators read of their nodes and inputs, checked.
#pragma once

#include "activation.h"
#include "session.h"
#include "weights.h"

namespace domino {

// What a node says of its activation; Refused if there is none of that name.
Activation activation_of(const Node&);

// Bounds and activation.
Epilogue epilogue_of(const Node&);

// The input `index`, a value for each output.
std::vector<float> floats_of(const Node&, size_t index, const char* name, int64_t count);

// The same, zeros where it isn't given.
std::vector<float> bias_of(const Node&, size_t index, int64_t count);

// Attributes of a convolution.
Convolution convolution_of(const Node&);

// The input X or another one that must be there.
Tensor given(const Call&, size_t index);

// The input X with one or more axes in space.
Tensor image_of(const Call&);

// The grid of bytes.
float scale_of(const Node&);
int32_t zero_point_of(const Node&);

// The weight of the inputs 1 and 2.
template <class Value>
Rows<Value> weights_of(const Node& node, int64_t rows, int64_t columns) {
  const Tensor values = node.stored(1, "values"), codes = node.stored(2, "codes");
  const int64_t m = node.integer("m"), digits = m ? node.integer("digits") : 0;
  return rows_of<Value>({rows, columns, m, digits, values.as<Value>(), values.size(), codes.as<uint8_t>(),
                         codes.size()});
}

// The residual's values, null without one; Refused unless it has the output's shape.
template <class Value>
const Value* residual_of(const Call& call, size_t index, const Shape& shape) {
  const std::optional<Tensor> tensor = call.input(index);
  if (!tensor) return nullptr;
  if (tensor->shape != shape) throw Refused("the residual has not the shape of the output");
  return tensor->as<Value>();
}

}  // namespace domino
