// The operators of the domain `domino_onnx`: what each makes of its node, and does in a call.
#pragma once

#include <memory>

#include "byte_depthwise.h"
#include "byte_product.h"
#include "float_direct.h"
#include "float_product.h"
#include "implementations.h"
#include "session.h"

namespace domino {

constexpr int kDomainVersion = 1;

// Inputs: X, values, codes, bias (optional), residual (optional).
enum FloatInput : size_t { kX, kValues, kCodes, kBias, kResidual };
// Inputs: X, values, codes, scales, bias or offsets, residual (optional).
enum ByteInput : size_t { kScales = 3, kOffsets, kByteResidual };
// Inputs: Q, K, V, mask (optional).
enum AttentionInput : size_t { kQ, kK, kV, kMask };

// Conv in float32: X and Y (image, channel, *space), as ONNX has them.
class NmConv {
 public:
  NmConv(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  Convolution convolution_;
  Epilogue epilogue_;
  std::unique_ptr<FloatProduct> product_;  // one of both
  std::unique_ptr<FloatDirect> direct_;
};

// MatMul or Gemm in float32: X (..., inputs), Y (..., outputs).
class NmMatMul {
 public:
  NmMatMul(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  Epilogue epilogue_;
  std::unique_ptr<FloatProduct> product_;
};

// The same with int8 weights; each row of X becomes bytes with a scale of its own.
class NmMatMulInt8 {
 public:
  NmMatMulInt8(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  Epilogue epilogue_;
  std::vector<float> scales_, bias_;
  std::unique_ptr<ByteProduct> product_;
};

// Conv from bytes to bytes: X, residual and Y (image, *space, channel). The sum over the inputs is of X as it is, and
// padding is `x_zero_point`; `offsets` take the zero points out.
class NmConvInt8 {
 public:
  NmConvInt8(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  void gather(const Geometry&, const uint8_t* x, const uint8_t* end, Span places, int64_t pitch, uint8_t* to) const;
  void gather_line(const Geometry&, const uint8_t* row, const uint8_t* end, int64_t column, int64_t count, int64_t pitch,
                   int64_t writable, uint8_t* to) const;

  Convolution convolution_;
  float residual_scale_, low_, high_;
  Activation activation_;
  uint8_t x_zero_point_;
  std::vector<float> scales_, offsets_;
  std::unique_ptr<ByteProduct> product_;  // one of both
  std::unique_ptr<ByteDepthwise> depthwise_;
};

// An activation by itself, of f(x * scale + offset): behind what stays with ONNX Runtime.
class NmActivation {
 public:
  NmActivation(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  const FloatKernel& kernel_;
  float scale_, offset_;
  Activation activation_;
};

// Y = softmax(Q K * scale + mask) V: Q (..., queries, inputs), K (..., inputs, keys), V (..., keys, outputs) and Y are
// read and written with their axes in an order of their own, as a Transpose in front or behind would put them.
class NmAttention {
 public:
  NmAttention(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  const FloatKernel& kernel_;
  float scale_;
  Shape q_order_, k_order_, v_order_, y_order_;
};

// Floats (image, channel, *space) become bytes (image, *space, channel): round(x / scale) + zero point, saturated. An
// operator of our own, because ONNX Runtime moves QuantizeLinear in front of a MaxPool, which is slow in bytes.
class NmToBytes {
 public:
  NmToBytes(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  const ByteKernel& kernel_;
  Grid grid_;
};

// And back: (byte - zero point) * scale.
class NmToFloats {
 public:
  NmToFloats(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  const ByteKernel& kernel_;
  Grid grid_;
};

// MaxPool and AveragePool from bytes to bytes of the same scale and zero point: X and Y (image, *space, channel).
class NmPoolInt8 {
 public:
  NmPoolInt8(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  const ByteKernel& kernel_;
  Convolution windows_;  // of one channel
  bool is_average_, counts_padding_, has_whole_windows_;
  float zero_point_;
};

// Resize by whole numbers, each pixel repeated: X and Y (image, *space, channel).
class NmUpsampleInt8 {
 public:
  NmUpsampleInt8(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  Shape factors_;
};

// GlobalAveragePool: bytes (image, *space, channel) become floats (image, channel, 1, ...).
class NmGlobalAveragePoolInt8 {
 public:
  NmGlobalAveragePoolInt8(const Node&, const Implementation&);
  void operator()(const Call&) const;

 private:
  const ByteKernel& kernel_;
  float scale_, zero_point_;
};

}  // namespace domino
