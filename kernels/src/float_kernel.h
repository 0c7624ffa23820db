// float32: what an instruction set offers. Many pixels (or rows of a matrix) are computed at once, one to a lane.
//
// A panel holds `block` inputs of as many pixels as fit in `vectors` registers: input k of pixel p is at
// panel[k * width() + p]. Each weight that isn't zero is one multiplication of a whole line of the panel, so zeros cost
// nothing whatever their pattern is.
#pragma once

#include "activation.h"
#include "attention.h"
#include "geometry.h"

namespace domino {

// The weights of `block` inputs: for each output the quads from quads[output] to quads[output + 1] - 1. Each quad has
// the offsets of four lines of the panel and the four weights. Weights of zero fill the last one up, with the line behind
// the block: that one is zero, because zero times infinity isn't.
struct FloatBlock {
  const uint32_t* quads;
  const uint16_t* offsets;
  const float* values;
};

// Where sums go through the epilogue, after `residual` is added where it isn't null. Of an image, places are neighbours
// and outputs `stride` apart; of a matrix, outputs are neighbours and rows `stride` apart.
struct FloatOutput {
  float* y;
  const float* residual;
  int64_t stride;
  Epilogue epilogue;
};

// A piece of each buffered row: `length` floats at `to`, which are input columns `from`, `from + step` and so on.
struct Piece {
  int64_t from, to, length;
};

// Rows of the inputs of a convolution, without padding. Each input (a kernel position and a channel) of all outputs of a
// row is a run of floats, `offsets` behind the first one of the row; neighbouring rows of outputs are `step` floats apart.
struct DirectRows {
  const float* buffer;
  const int64_t* offsets;
  const float* weights;
  int64_t inputs, step;
  float bias;
};

struct FloatKernel {
  int lanes;    // floats in a register
  int vectors;  // registers of pixels in the widest tile
  int block;    // inputs in a panel, so that it stays in the first-level cache

  int width() const { return lanes * vectors; }

  // Inputs `first` to `end - 1` (kernel positions, of each all channels) of `pixels` outputs of one image.
  void (*pack_image)(const Geometry&, const float* image, int64_t first_pixel, int pixels, int64_t first, int64_t end,
                     float* panel);
  // Inputs `first` to `end - 1` of `pixels` rows of `stride` floats.
  void (*pack_rows)(const float* rows, int64_t stride, int pixels, int64_t first, int64_t end, float* panel);
  // sums[output * width() + pixel] += weights x panel. They begin with `bias` where it isn't null, and go to `image`
  // where that isn't.
  void (*multiply)(const FloatBlock&, int64_t outputs, const float* bias, const float* panel, int pixels, float* sums,
                   const FloatOutput* image);
  // What was summed up, to rows of outputs.
  void (*store_rows)(const float* sums, int64_t outputs, int pixels, const FloatOutput& rows);
  // Puts `rows` rows of the input, `apart` floats from each other, into buffered rows of `pitch` floats, in pieces.
  void (*buffer_rows)(const float* x, int64_t rows, int64_t apart, int64_t step, const Piece* pieces, int64_t count,
                      int64_t pitch, float* buffer);
  // `rows` of `columns` outputs behind each other: runs of whole vectors are read from the buffer.
  void (*direct)(const DirectRows&, int64_t rows, int64_t columns, const float* residual, const Epilogue&,
                    float* y);
  // y = activation(x * scale + offset).
  void (*map)(const float* x, int64_t count, float scale, float offset, const Activation&, float* y);
  // Attention of one head; its buffer has `attention_buffer` floats and begins at a multiple of 64 bytes.
  int64_t (*attention_buffer)(int64_t keys, int64_t inputs, int64_t outputs);
  void (*attend)(const Attention&, float* buffer);
};

}  // namespace domino
