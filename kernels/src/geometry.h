// Where the inputs of each output of a convolution lie: 1 to 3 axes in space, of one image and one group.
#pragma once

#include <cstdint>

namespace domino {

constexpr int kAxes = 3;

// Axes are counted from the left; missing ones have the size 1. Plain data: kernels of all instruction sets read it.
struct Geometry {
  int64_t channels;  // of one group
  int64_t input[kAxes], output[kAxes], kernel[kAxes], stride[kAxes], dilation[kAxes], begin[kAxes];

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t pixels_in() const { return input[0] * input[1] * input[2]; }
  // Whether output p has pixel p alone as its input.
  bool is_pointwise() const {
    bool is = true;
    for (int i = 0; i < kAxes; ++i) is = is && kernel[i] == 1 && stride[i] == 1 && begin[i] == 0 && input[i] == output[i];
    return is;
  }
  int64_t pixels_out() const { return output[0] * output[1] * output[2]; }

  // The input coordinate along an axis of output `place` at kernel position `tap`; outside the input in the padding.
  int64_t reach(int axis, int64_t place, int64_t tap) const {
    return place * stride[axis] - begin[axis] + tap * dilation[axis];
  }
};

// Consecutive outputs of one line: `length` of them from `x` on, the first being number `at` of its tile.
struct Run {
  int64_t place[kAxes];
  int32_t at, length;
};

// The runs of outputs `first` to `first + count - 1` in C order; at most `count` of them.
inline int runs_of(const Geometry& geometry, int64_t first, int64_t count, Run* runs) {
  int found = 0;
  const int64_t line = geometry.output[2];
  for (int64_t done = 0; done < count;) {
    const int64_t row = (first + done) / line, x = (first + done) % line;
    const int64_t length = line - x < count - done ? line - x : count - done;
    runs[found++] = {{row / geometry.output[1], row % geometry.output[1], x},
                     static_cast<int32_t>(done),
                     static_cast<int32_t>(length)};
    done += length;
  }
  return found;
}

}  // namespace domino
