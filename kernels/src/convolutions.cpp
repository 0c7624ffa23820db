// Convolutions.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attributes.h"
#include "kernels.h"

namespace domino {
namespace {

bool is_within(int64_t place, int64_t size) { return static_cast<uint64_t>(place) < static_cast<uint64_t>(size); }

// Copies a few bytes by a copy of constant length, which is a few instructions, where that much can be read and written.
void copy_run(const uint8_t* from, int64_t length, int64_t readable, int64_t writable, uint8_t* to) {
  const int64_t most = std::min(readable, writable);
  if (length <= 16 && most >= 16) {
    std::memcpy(to, from, 16);
  } else if (length <= 64 && most >= 64) {
    std::memcpy(to, from, 64);
  } else {
    std::memcpy(to, from, static_cast<size_t>(length));
  }
}

}  // namespace

NmConv::NmConv(const Node& node, const Implementation& use)
    : convolution_(convolution_of(node)), epilogue_(epilogue_of(node)) {
  const auto rows = weights_of<float>(node, convolution_.outputs(), convolution_.columns());
  std::vector<float> bias = bias_of(node, kBias, convolution_.outputs());
  if (convolution_.weight[1] <= FloatDirect::kMostChannels) {
    direct_ = std::make_unique<FloatDirect>(*use.floats, rows, std::move(bias), convolution_.groups);
  } else {
    product_ = std::make_unique<FloatProduct>(*use.floats, rows, std::move(bias), convolution_.groups);
  }
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
  if (!y.size()) return;
  const auto compute = [&](const auto& product) {
    product.image(geometry, x.shape[0], x.as<float>(), residual, epilogue_, y.as<float>(), call.parallel());
  };
  direct_ ? compute(*direct_) : compute(*product_);
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
  if (!std::isfinite(residual_scale_)) throw Refused("residual_scale is not finite");
  x_zero_point_ = static_cast<uint8_t>(zero_point);
  const auto rows = weights_of<int8_t>(node, convolution_.outputs(), convolution_.columns());
  scales_ = floats_of(node, kScales, "scales", convolution_.outputs());
  offsets_ = floats_of(node, kOffsets, "offsets", convolution_.outputs());
  if (convolution_.weight[1] == 1 && convolution_.outputs() == convolution_.groups) {
    depthwise_ = std::make_unique<ByteDepthwise>(*use.bytes, rows, convolution_.weight.back(), convolution_.dilations.back());
  } else {
    product_ = std::make_unique<ByteProduct>(*use.bytes, rows, convolution_.groups);
  }
}

// The inputs of outputs `places`, counted through all images, at `pitch` bytes each. `x` is the first byte of the group.
void NmConvInt8::gather(const Geometry& g, const uint8_t* x, const uint8_t* end, Span places, int64_t pitch,
                        uint8_t* to) const {
  const int64_t pixel_in = convolution_.channels(), line = g.output[2], in_image = g.pixels_out();
  for (int64_t first = places.first; first < places.end;) {
    const int64_t row = first % in_image / line, column = first % line;
    const int64_t count = std::min(line - column, places.end - first);
    const uint8_t* image = x + first / in_image * g.pixels_in() * pixel_in;
    int64_t at = 0;  // of the inputs of a place
    for (int64_t a = 0; a < g.kernel[0]; ++a) {
      const int64_t z = g.reach(0, row / g.output[1], a);
      for (int64_t b = 0; b < g.kernel[1]; ++b, at += g.kernel[2] * g.channels) {
        const int64_t y = g.reach(1, row % g.output[1], b);
        const bool is_inside = is_within(z, g.input[0]) && is_within(y, g.input[1]);
        const uint8_t* from = is_inside ? image + (z * g.input[1] + y) * g.input[2] * pixel_in : nullptr;
        gather_line(g, from, end, column, count, pitch, pitch - at, to + at);
      }
    }
    first += count;
    to += count * pitch;
  }
}

// What one line of the kernel reads of a row of pixels for `count` outputs from `column` on; null is padding.
void NmConvInt8::gather_line(const Geometry& g, const uint8_t* row, const uint8_t* end, int64_t column, int64_t count,
                             int64_t pitch, int64_t writable, uint8_t* to) const {
  const int64_t pixel_in = convolution_.channels(), channels = g.channels;
  const bool is_run = g.dilation[2] == 1 && channels == pixel_in;
  for (int64_t i = 0; i < count; ++i, to += pitch) {
    const int64_t x = g.reach(2, column + i, 0);
    if (row && is_run && x >= 0 && x + g.kernel[2] <= g.input[2]) {
      const uint8_t* from = row + x * pixel_in;
      copy_run(from, channels * g.kernel[2], end - from, writable, to);
      continue;
    }
    for (int64_t tap = 0; tap < g.kernel[2]; ++tap) {
      const int64_t place = x + tap * g.dilation[2];
      if (row && is_within(place, g.input[2])) {
        std::memcpy(to + tap * channels, row + place * pixel_in, static_cast<size_t>(channels));
      } else {
        std::memset(to + tap * channels, x_zero_point_, static_cast<size_t>(channels));
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
  const int64_t outputs = convolution_.outputs();
  const ToBytes how{scales_.data(), offsets_.data(), residual, residual_scale_, low_, high_, activation_};
  const Parallel parallel = call.parallel();
  if (depthwise_) {
    depthwise_->bytes(g, x.shape[0], x.as<uint8_t>(), x_zero_point_, parallel, how, y.as<uint8_t>());
    return;
  }
  const int64_t groups = convolution_.groups, in_group = outputs / groups, pixel_in = convolution_.channels();
  const int64_t places = g.pixels_out();
  const auto* end = x.as<uint8_t>() + x.size();
  for (int64_t group = 0; group < groups; ++group) {
    const auto* from = x.as<uint8_t>() + group * g.channels;
    const auto inputs_of = [&](Span rows, uint8_t* space) {
      const int64_t pitch = product_->pitch();
      if (g.is_pointwise() && from + (rows.end - 1) * pixel_in + pitch <= end) {
        return ByteProduct::Inputs{from + rows.first * pixel_in, pixel_in};
      }
      gather(g, from, end, rows, pitch, space);
      return ByteProduct::Inputs{space, pitch};
    };
    const int64_t first = group * in_group;
    product_->bytes(group, x.shape[0] * places, parallel, inputs_of, how.from(first, 0, outputs), outputs,
                    y.as<uint8_t>() + first);
  }
}

}  // namespace domino
