// Products with matrices.
#include <cstring>

#include "attributes.h"
#include "kernels.h"

namespace domino {
namespace {

Shape matrix_of(const Node& node) {
  Shape shape = node.integers("weight_shape");
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1) throw Refused("weight_shape has not two positive sizes");
  return shape;
}

// The shape of the output of a matrix product, and the number of its rows.
Shape rows_out(const Tensor& x, int64_t inputs, int64_t outputs, int64_t* rows) {
  if (x.shape.empty() || x.shape.back() != inputs) throw Refused("the last axis of X has not the size of the weight");
  Shape shape = x.shape;
  shape.back() = 1;
  *rows = size_of(shape);
  shape.back() = outputs;
  size_of(shape);
  return shape;
}

}  // namespace

NmMatMul::NmMatMul(const Node& node, const Implementation& use) : epilogue_(epilogue_of(node)) {
  const Shape shape = matrix_of(node);
  const auto rows = weights_of<float>(node, shape[0], shape[1]);
  product_ = std::make_unique<FloatProduct>(*use.floats, rows, bias_of(node, kBias, shape[0]), 1);
}

void NmMatMul::operator()(const Call& call) const {
  const Tensor x = given(call, kX);
  int64_t rows = 0;
  const Shape shape = rows_out(x, product_->inputs(), product_->outputs(), &rows);
  const float* residual = residual_of<float>(call, kResidual, shape);
  const Tensor y = call.output(shape);
  if (rows) product_->matrix(rows, x.as<float>(), residual, epilogue_, y.as<float>(), call.parallel());
}

NmMatMulInt8::NmMatMulInt8(const Node& node, const Implementation& use) : epilogue_(epilogue_of(node)) {
  const Shape shape = matrix_of(node);
  const auto rows = weights_of<int8_t>(node, shape[0], shape[1]);
  scales_ = floats_of(node, kScales, "scales", shape[0]);
  bias_ = bias_of(node, kOffsets, shape[0]);
  product_ = std::make_unique<ByteProduct>(*use.bytes, rows, 1);
}

void NmMatMulInt8::operator()(const Call& call) const {
  const Tensor x = given(call, kX);
  int64_t rows = 0;
  const int64_t inputs = product_->inputs(), outputs = product_->outputs();
  const Shape shape = rows_out(x, inputs, outputs, &rows);
  const float* residual = residual_of<float>(call, kByteResidual, shape);
  const Tensor y = call.output(shape);
  if (!rows) return;
  const Parallel parallel = call.parallel();
  const std::unique_ptr<uint8_t[]> bytes(new uint8_t[static_cast<size_t>(rows * inputs + product_->kernel().window)]);
  std::vector<Grid> of_rows(static_cast<size_t>(rows));
  for_each(parallel, static_cast<size_t>(rows), [&](size_t row) {
    of_rows[row] = product_->kernel().quantize(x.as<float>() + row * inputs, inputs, bytes.get() + row * inputs);
  });
  const ToFloats how{of_rows.data(), product_->weight_sums().data(), scales_.data(), bias_.data(), residual, epilogue_};
  product_->floats(
      0, rows, parallel,
      [&](Span some, uint8_t*) { return ByteProduct::Inputs{bytes.get() + some.first * inputs, inputs}; }, how, outputs,
      y.as<float>());
}

}  // namespace domino
