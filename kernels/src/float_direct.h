// float32: convolutions whose outputs have few input channels, depthwise ones first of all. Inputs are read where they
// lie, without a panel for each tile.
#pragma once

#include <vector>

#include "float_kernel.h"
#include "parallel.h"
#include "weights.h"

namespace domino {

class FloatDirect {
 public:
  // The most input channels of an output that it is quick for.
  static constexpr int64_t kMostChannels = 4;

  // As FloatProduct.
  FloatDirect(const FloatKernel& kernel, const Rows<float>& rows, std::vector<float> bias, int64_t groups);

  // As FloatProduct::image.
  void image(const Geometry&, int64_t images, const float* x, const float* residual, const Epilogue&, float* y,
             const Parallel&) const;

 private:
  const FloatKernel& kernel_;
  int64_t outputs_, groups_, inputs_;
  std::vector<float> bias_, weights_;
};

}  // namespace domino
