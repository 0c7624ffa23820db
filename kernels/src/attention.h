// Attention of one head: y = softmax(q k * scale + mask) v, in float32.
#pragma once

#include <cstdint>

namespace domino {

// Where a matrix begins, and how far apart its rows and columns are, in floats.
struct Strided {
  const float* data = nullptr;
  int64_t row = 0, column = 0;

  const float* at(int64_t r, int64_t c = 0) const { return data + r * row + c * column; }
};

// q (queries, inputs), k (inputs, keys), v (keys, outputs), mask (queries, keys), whose data may be null; steps of 0
// repeat a mask. Columns of y (queries, outputs) are neighbours.
struct Attention {
  Strided q, k, v, mask;
  float* y;
  int64_t y_row;
  int64_t queries, keys, inputs, outputs;
  float scale;
};

}  // namespace domino
