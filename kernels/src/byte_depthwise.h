// int8: convolutions whose outputs have one input channel each, of bytes with the channels last.
#pragma once

#include "byte_product.h"

namespace domino {

// A window holds as many neighbours along a line of the kernel, of `lanes` channels, as a step can pick from.
class ByteDepthwise {
 public:
  // Of kernels with `line` positions along the last axis, `dilation` pixels from each other.
  ByteDepthwise(const ByteKernel&, const Rows<int8_t>& rows, int64_t line, int64_t dilation);

  // `padding` is what lies around an image. `how` and `y` are those of the first channel.
  void bytes(const Geometry&, int64_t images, const uint8_t* x, uint8_t padding, const Parallel&, const ToBytes& how,
             uint8_t* y) const;

 private:
  struct Buffer;

  void fill(const Geometry&, const Buffer&, const int64_t (&place)[kAxes], const uint8_t* image, uint8_t padding,
            int64_t channel, uint8_t* cells) const;

  const ByteKernel& kernel_;
  int64_t channels_, in_window_, windows_in_line_;
  ByteProduct product_;
};

}  // namespace domino
