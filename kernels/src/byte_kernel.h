// int8: what an instruction set offers. Unsigned bytes times signed ones, summed up in 32-bit integers, exactly.
//
// Inputs are cut into windows of as many bytes as one instruction can pick from. A step picks `slots` bytes of the
// window for each of `lanes` outputs, multiplies and adds them. What a step needs is shared by all pixels of a tile.
#pragma once

#include "activation.h"

namespace domino {

// The steps of one window for `lanes` outputs lie behind each other: 4 bytes an output in `picks` and in `weights`.
struct ByteBlock {
  const uint32_t* steps;  // of each window, `windows` of them
  const uint8_t* picks;
  const uint8_t* weights;
};

// Floats as bytes: x is about (byte - zero_point) * scale.
struct Grid {
  float scale;
  int32_t zero_point;
};

// From sums of quantized rows, of which weight_sums are the sums of the weights, to floats.
struct ToFloats {
  const Grid* rows;  // of each pixel
  const int32_t* weight_sums;
  const float* scales;
  const float* biases;
  const float* residual;  // or null
  Epilogue epilogue;

  // For the outputs from `output` on, of the rows from `row` on; residuals of rows are `stride` apart.
  ToFloats from(int64_t output, int64_t row, int64_t stride) const {
    return {rows + row,      weight_sums + output, scales + output, biases + output,
            residual ? residual + row * stride + output : nullptr, epilogue};
  }
};

// From sums to bytes: sum * scale + offset + residual * residual_scale, each step rounded to float32, then through the
// activation, if there is one, and to the nearest even integer between `low` and `high`.
struct ToBytes {
  const float* scales;
  const float* offsets;
  const uint8_t* residual;  // or null
  float residual_scale, low, high;
  Activation activation{};

  // For the outputs from `output` on, of the rows from `row` on; residuals of rows are `stride` apart.
  ToBytes from(int64_t output, int64_t row, int64_t stride) const {
    return {scales + output, offsets + output, residual ? residual + row * stride + output : nullptr,
            residual_scale,  low,              high, activation};
  }
};

// The inputs of some pixels: window w of pixel p is at x + p * pitch + offsets[w].
struct ByteTile {
  const uint8_t* x;
  int64_t pitch;
  const int64_t* offsets;
  int64_t windows;
  int pixels;
};

constexpr int64_t kBorderPixels = 64;

struct ByteKernel {
  int lanes;   // outputs of a block
  int window;  // bytes
  int slots;   // bytes of the window that a step picks: 4, or 2 where a step multiplies 16-bit numbers
  int pixels;  // of the widest tile

  // `channels` of `pixels` pixels, which are `apart` bytes from each other, at `lanes` bytes each.
  void (*spread)(const uint8_t* x, int64_t apart, int64_t pixels, int64_t channels, uint8_t* to);
  // The first `outputs` of some blocks, for each pixel of a tile. Rows of `y` and of residuals are `stride` apart.
  void (*to_bytes)(const ByteBlock*, const ByteTile&, int64_t outputs, const ToBytes&, int64_t stride, uint8_t* y);
  void (*to_floats)(const ByteBlock*, const ByteTile&, int64_t outputs, const ToFloats&, int64_t stride, float* y);
  // The largest byte of some positions, and their sum; of `channels` each. Without a position it is zero.
  void (*max_of)(const uint8_t* const* positions, int64_t count, int64_t channels, uint8_t* y);
  void (*sum_of)(const uint8_t* const* positions, int64_t count, int64_t channels, int32_t* sums);
  // `count` floats as bytes of the smallest scale that holds them and zero. The scale is NaN if one of them is, and
  // infinite if one is that; the bytes are then the zero point, so that what comes of their products is NaN.
  Grid (*quantize)(const float* x, int64_t count, uint8_t* bytes);
  // Floats whose channels are `apart` from each other become bytes with the channels last, as QuantizeLinear rounds; and
  // back. At most `kBorderPixels` pixels.
  void (*to_channels_last)(const float* x, int64_t apart, int64_t pixels, int64_t channels, Grid grid, uint8_t* y);
  void (*to_planes)(const uint8_t* x, int64_t pixels, int64_t channels, Grid grid, int64_t apart, float* y);
  // Sums of one row, without an activation.
  void (*sums_to_bytes)(const int32_t* sums, int64_t count, const ToBytes&, uint8_t* y);
};

}  // namespace domino
