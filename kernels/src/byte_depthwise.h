// int8: convolutions whose outputs have one input channel each, of bytes with the channels last.
#pragma once

#include "byte_product.h"
#include "positions.h"

namespace domino {

// A window holds as many kernel positions of `lanes` channels as a step can pick from.
class ByteDepthwise {
 public:
  ByteDepthwise(const ByteKernel& kernel, const Rows<int8_t>& rows);

  // `finish(place, first, end, sums)` gets the sums of channels `first` to `end - 1` of output `place` of all images,
  // at the same time. `padding` is what lies around an image.
  template <class Finish>
  void run(const Geometry&, int64_t images, const uint8_t* x, uint8_t padding, const Parallel&, Finish&&) const;

  const ByteKernel& kernel() const { return kernel_; }

 private:
  const ByteKernel& kernel_;
  int64_t channels_, taps_, in_window_, windows_, count_;
  ByteProduct product_;
};

}  // namespace domino

#include "byte_depthwise.inc"
