#include "kernels.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace domino {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Epilogue epilogue_of(const Node& node) {
  const Epilogue found{{node.number("min", -kInfinity), node.number("max", kInfinity)}, activation_of(node)};
  if (!(found.clamp.low <= found.clamp.high)) throw Refused("min is not below max");
  return found;
}

template <class Value>
Rows<Value> weights_of(const Node& node, int64_t rows, int64_t columns) {
  const Tensor values = node.stored(kValues, "values"), codes = node.stored(kCodes, "codes");
  const int64_t m = node.integer("m"), digits = m ? node.integer("digits") : 0;
  return rows_of<Value>({rows, columns, m, digits, values.as<Value>(), values.size(), codes.as<uint8_t>(),
                         codes.size()});
}

std::vector<float> floats_of(const Node& node, size_t index, const char* name, int64_t count) {
  const Tensor tensor = node.stored(index, name);
  if (tensor.size() != count) throw Refused(std::string("the input ") + name + " has not a value for each output");
  return {tensor.as<float>(), tensor.as<float>() + count};
}

std::vector<float> bias_of(const Node& node, size_t index, int64_t count) {
  if (!node.has_input(index)) return std::vector<float>(static_cast<size_t>(count), 0.0f);
  return floats_of(node, index, "bias", count);
}

Convolution convolution_of(const Node& node) {
  Convolution convolution;
  convolution.weight = node.integers("weight_shape");
  convolution.groups = node.integer("group");
  convolution.strides = node.integers("strides");
  convolution.dilations = node.integers("dilations");
  convolution.pads = node.integers("pads");
  convolution.check();
  return convolution;
}

Shape matrix_of(const Node& node) {
  Shape shape = node.integers("weight_shape");
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1) throw Refused("weight_shape has not two positive sizes");
  return shape;
}

Tensor given(const Call& call, size_t index) {
  std::optional<Tensor> tensor = call.input(index);
  if (!tensor) throw Refused("the input X is missing");
  return *tensor;
}

// The residual's values, null without one; Refused unless it has the output's shape.
template <class Value>
const Value* residual_of(const Call& call, size_t index, const Shape& shape) {
  const std::optional<Tensor> tensor = call.input(index);
  if (!tensor) return nullptr;
  if (tensor->shape != shape) throw Refused("the residual has not the shape of the output");
  return tensor->as<Value>();
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

// The first kernel position of each line of the kernel.
std::vector<Tap> lines_of(const Geometry& g) {
  std::vector<Tap> lines;
  for (int64_t z = 0; z < g.kernel[0]; ++z) {
    for (int64_t y = 0; y < g.kernel[1]; ++y) lines.push_back({z * g.dilation[0], y * g.dilation[1], 0});
  }
  return lines;
}

bool is_within(int64_t place, int64_t size) { return static_cast<uint64_t>(place) < static_cast<uint64_t>(size); }

}  // namespace

Activation activation_of(const Node& node) {
  const std::pair<const char*, ActivationKind> known[] = {{"HardSwish", ActivationKind::kHardSwish},
                                                          {"Swish", ActivationKind::kSwish},
                                                          {"Gelu", ActivationKind::kGelu},
                                                          {"GeluTanh", ActivationKind::kGeluTanh}};
  const std::string name = node.text("activation");
  if (name.empty()) return {};
  for (const auto& [its_name, kind] : known) {
    if (name != its_name) continue;
    const Activation found{kind, node.number("alpha", 1), node.number("gain", 1), node.number("shift", 0)};
    for (const float each : {found.alpha, found.gain, found.shift}) {
      if (!std::isfinite(each)) throw Refused("alpha, gain or shift is not finite");
    }
    return found;
  }
  throw Refused("activation is " + name + ", which is none that it knows");
}

NmConv::NmConv(const Node& node, const Implementation& use)
    : convolution_(convolution_of(node)), epilogue_(epilogue_of(node)) {
  const auto rows = weights_of<float>(node, convolution_.outputs(), convolution_.columns());
  product_ = std::make_unique<FloatProduct>(*use.floats, rows, bias_of(node, kBias, convolution_.outputs()),
                                            convolution_.groups);
}

void NmConv::operator()(const Call& call) const {
  const Tensor x = given(call, kX);
  if (static_cast<int64_t>(x.shape.size()) != convolution_.axes() + 2 || x.shape[1] != convolution_.channels()) {
    throw Refused("X has not the axes and channels of the weight");
  }
  Shape shape{x.shape[0], convolution_.outputs()};
  const Geometry geometry = convolution_.geometry(x.shape.data() + 2);
  const Shape space = convolution_.output_space(x.shape.data() + 2);
  shape.insert(shape.end(), space.begin(), space.end());
  size_of(shape);
  const float* residual = residual_of<float>(call, kResidual, shape);
  const Tensor y = call.output(shape);
  if (y.size()) product_->image(geometry, x.shape[0], x.as<float>(), residual, epilogue_, y.as<float>(), call.parallel());
}

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
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * inputs));
  std::vector<Quantized> of_rows(static_cast<size_t>(rows));
  for_each(parallel, static_cast<size_t>(rows), [&](size_t row) {
    of_rows[row] = product_->kernel().quantize(x.as<float>() + row * inputs, inputs, bytes.data() + row * inputs);
  });
  product_->run(
      0, rows, parallel,
      [&](int64_t row, uint8_t* to) { std::memcpy(to, bytes.data() + row * inputs, static_cast<size_t>(inputs)); },
      [&](int64_t row, int64_t first, int64_t end, const int32_t* sums) {
        const int64_t to = row * outputs + first;
        product_->kernel().to_floats(sums, end - first,
                                     {of_rows[row], product_->weight_sums().data() + first, scales_.data() + first,
                                      bias_.data() + first, residual ? residual + to : nullptr, epilogue_},
                                     y.as<float>() + to);
      });
}

NmConvInt8::NmConvInt8(const Node& node, const Implementation& use)
    : convolution_(convolution_of(node)),
      residual_scale_(node.number("residual_scale", 1.0f)),
      low_(node.number("min", 0.0f)),
      high_(node.number("max", 255.0f)),
      activation_(activation_of(node)) {
  const int64_t zero_point = node.integer("x_zero_point");
  if (zero_point < 0 || zero_point > 255) throw Refused("x_zero_point is not 0 to 255");
  if (!(0.0f <= low_ && low_ <= high_ && high_ <= 255.0f) || low_ != std::floor(low_) || high_ != std::floor(high_)) {
    throw Refused("min and max are not whole numbers of 0 to 255");
  }
  x_zero_point_ = static_cast<uint8_t>(zero_point);
  const auto rows = weights_of<int8_t>(node, convolution_.outputs(), convolution_.columns());
  scales_ = floats_of(node, kScales, "scales", convolution_.outputs());
  offsets_ = floats_of(node, kOffsets, "offsets", convolution_.outputs());
  product_ = std::make_unique<ByteProduct>(*use.bytes, rows, convolution_.groups);
}

// The inputs of output `place` of an image whose pixels are `pixel_in` bytes apart.
void NmConvInt8::gather(const Geometry& g, const std::vector<Tap>& lines, const uint8_t* image, int64_t pixel_in,
                        int64_t place, uint8_t* to) const {
  const auto channels = static_cast<size_t>(g.channels);
  const int64_t z = g.reach(0, place / (g.output[1] * g.output[2]), 0);
  const int64_t y = g.reach(1, place / g.output[2] % g.output[1], 0), x = g.reach(2, place % g.output[2], 0);
  const bool is_one_run = g.dilation[2] == 1 && g.channels == pixel_in && x >= 0 && x + g.kernel[2] <= g.input[2];
  for (const Tap& line : lines) {
    const bool is_inside = is_within(z + line.z, g.input[0]) && is_within(y + line.y, g.input[1]);
    const int64_t row = ((z + line.z) * g.input[1] + y + line.y) * g.input[2];
    if (is_inside && is_one_run) {
      std::memcpy(to, image + (row + x) * pixel_in, channels * static_cast<size_t>(g.kernel[2]));
      to += channels * static_cast<size_t>(g.kernel[2]);
      continue;
    }
    for (int64_t tap = 0; tap < g.kernel[2]; ++tap, to += channels) {
      const int64_t column = x + tap * g.dilation[2];
      if (is_inside && is_within(column, g.input[2])) {
        std::memcpy(to, image + (row + column) * pixel_in, channels);
      } else {
        std::memset(to, x_zero_point_, channels);
      }
    }
  }
}

void NmConvInt8::operator()(const Call& call) const {
  const Tensor x = given(call, kX);
  if (static_cast<int64_t>(x.shape.size()) != convolution_.axes() + 2 || x.shape.back() != convolution_.channels()) {
    throw Refused("X has not the axes and channels of the weight");
  }
  const Geometry g = convolution_.geometry(x.shape.data() + 1);
  Shape shape{x.shape[0]};
  const Shape space = convolution_.output_space(x.shape.data() + 1);
  shape.insert(shape.end(), space.begin(), space.end());
  shape.push_back(convolution_.outputs());
  size_of(shape);
  const auto* residual = residual_of<uint8_t>(call, kByteResidual, shape);
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  const int64_t groups = convolution_.groups, in_group = product_->outputs() / groups, outputs = product_->outputs();
  const int64_t pixel_in = convolution_.channels(), image_in = g.pixels_in() * pixel_in, places = g.pixels_out();
  const std::vector<Tap> lines = lines_of(g);
  const Parallel parallel = call.parallel();
  for (int64_t group = 0; group < groups; ++group) {
    const auto* from = x.as<uint8_t>() + group * g.channels;
    product_->run(
        group, x.shape[0] * places, parallel,
        [&](int64_t p, uint8_t* to) { gather(g, lines, from + p / places * image_in, pixel_in, p % places, to); },
        [&](int64_t p, int64_t first, int64_t end, const int32_t* sums) {
          const int64_t channel = group * in_group + first, to = p * outputs + channel;
          product_->kernel().to_bytes(sums, end - first,
                                      {scales_.data() + channel, offsets_.data() + channel,
                                       residual ? residual + to : nullptr, residual_scale_, low_, high_, activation_},
                                      y.as<uint8_t>() + to);
        });
  }
}

}  // namespace domino
