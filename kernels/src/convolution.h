// The attributes of a convolution, checked, and its geometry for an input.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "geometry.h"
#include "weights.h"

namespace domino {

using Shape = std::vector<int64_t>;

// The number of values of a shape; Refused if it is negative somewhere or doesn't fit in memory.
inline int64_t size_of(const Shape& shape) {
  constexpr int64_t kMost = int64_t{1} << 40;
  int64_t size = 1;
  for (int64_t each : shape) {
    if (each < 0 || (each > 0 && size > kMost / each)) throw Refused("a tensor has no possible size");
    size *= each;
  }
  return size;
}

// Attributes as ONNX's Conv has them; empty lists mean their defaults.
struct Convolution {
  Shape weight;  // (outputs, inputs of a group, *kernel)
  int64_t groups = 1;
  Shape strides, dilations, pads;

  void check() {
    const size_t axes = weight.size() - 2;
    if (weight.size() < 3 || axes > kAxes) throw Refused("weight_shape has not 3 to 5 sizes");
    for (int64_t each : weight) {
      if (each < 1 || each > kMostSize) throw Refused("a size of weight_shape is not positive, or too large");
    }
    if (groups < 1 || weight[0] % groups) throw Refused("group doesn't divide the outputs");
    if (strides.empty()) strides.assign(axes, 1);
    if (dilations.empty()) dilations.assign(axes, 1);
    if (pads.empty()) pads.assign(2 * axes, 0);
    check(strides, axes, 1, "strides");
    check(dilations, axes, 1, "dilations");
    check(pads, 2 * axes, 0, "pads");
    int64_t columns = 1;
    for (size_t axis = 1; axis < weight.size(); ++axis) {
      if (weight[axis] > kMostSize / columns) throw Refused("an output has too many inputs");
      columns *= weight[axis];
    }
  }

  int64_t axes() const { return static_cast<int64_t>(weight.size()) - 2; }
  int64_t outputs() const { return weight[0]; }
  int64_t channels() const { return weight[1] * groups; }
  int64_t columns() const {
    int64_t columns = 1;
    for (size_t axis = 1; axis < weight.size(); ++axis) columns *= weight[axis];
    return columns;
  }

  // The sizes in space of the output.
  Shape output_space(const int64_t* space) const {
    Shape sizes;
    for (int64_t axis = 0; axis < axes(); ++axis) sizes.push_back(output_size(axis, space[axis]));
    return sizes;
  }

  // Of an input with these sizes in space. Kernels of one place without padding see a line: its axes are one.
  Geometry geometry(const int64_t* space) const {
    Geometry g{};
    g.channels = weight[1];
    const int missing = kAxes - static_cast<int>(axes());
    for (int i = 0; i < kAxes; ++i) {
      g.input[i] = g.output[i] = g.kernel[i] = g.stride[i] = g.dilation[i] = 1;
      if (i < missing) continue;
      const int axis = i - missing;
      g.input[i] = space[axis];
      g.kernel[i] = weight[2 + axis];
      g.stride[i] = strides[axis];
      g.dilation[i] = dilations[axis];
      g.begin[i] = pads[axis];
      g.output[i] = output_size(axis, space[axis]);
    }
    if (g.is_pointwise()) {
      g.input[2] = g.output[2] = g.pixels_in();
      g.input[0] = g.input[1] = g.output[0] = g.output[1] = 1;
    }
    return g;
  }

 private:
  static constexpr int64_t kMostSize = int64_t{1} << 30;

  int64_t output_size(int64_t axis, int64_t size) const {
    const int64_t reach = (weight[2 + axis] - 1) * dilations[axis] + 1;
    const int64_t room = size + pads[axis] + pads[axis + axes()] - reach;
    if (size < 1 || size > kMostSize || room < 0) throw Refused("the input is smaller than the kernel");
    return room / strides[axis] + 1;
  }

  static void check(const Shape& values, size_t count, int64_t least, const char* name) {
    if (values.size() != count) throw Refused(std::string(name) + " has not the right number of values");
    for (int64_t each : values) {
      if (each < least || each > kMostSize) throw Refused(std::string("a value of ") + name + " is out of range");
    }
  }
};

}  // namespace domino
