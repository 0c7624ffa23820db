// Pooling of bytes with the channels last.
#include <algorithm>

#include "attributes.h"
#include "kernels.h"
#include "positions.h"
#include "tiles.h"

namespace domino {
namespace {

constexpr int64_t kFewestBytes = 1 << 15;  // of a task

// Pooling as a convolution of one channel.
Convolution windows_of(const Node& node) {
  Convolution windows;
  windows.weight = {1, 1};
  const Shape kernel = node.integers("kernel_shape");
  windows.weight.insert(windows.weight.end(), kernel.begin(), kernel.end());
  windows.strides = node.integers("strides");
  windows.dilations = node.integers("dilations");
  windows.pads = node.integers("pads");
  windows.check();
  constexpr int64_t kMost = 1 << 16;
  if (windows.columns() > kMost) throw Refused("a window has more than 65,536 places");
  return windows;
}

// With as much padding behind an image that no window is cut off: ONNX's ceil_mode. A window has to begin before that.
Convolution with_whole_windows(Convolution windows, const int64_t* space) {
  const int64_t axes = windows.axes();
  for (int64_t axis = 0; axis < axes; ++axis) {
    const int64_t before = windows.pads[axis], stride = windows.strides[axis];
    const int64_t reach = (windows.weight[2 + axis] - 1) * windows.dilations[axis] + 1;
    const int64_t room = space[axis] + before + windows.pads[axis + axes] - reach, left = room % stride;
    if (room < 0 || left == 0 || room - left + stride >= space[axis] + before) continue;
    windows.pads[axis + axes] += stride - left;
  }
  return windows;
}

}  // namespace

NmPoolInt8::NmPoolInt8(const Node& node, const Implementation& use)
    : kernel_(*use.bytes), windows_(windows_of(node)), zero_point_(static_cast<float>(zero_point_of(node))) {
  const std::string mode = node.text("mode").value_or("");
  if (mode != "max" && mode != "average") throw Refused("mode is neither max nor average");
  is_average_ = mode == "average";
  counts_padding_ = node.integer("count_include_pad") != 0;
  has_whole_windows_ = node.integer("ceil_mode") != 0;
  if (is_average_ && counts_padding_ && has_whole_windows_) throw Refused("ceil_mode and count_include_pad are both set");
}

void NmPoolInt8::operator()(const Call& call) const {
  const Tensor x = image_of(call);
  if (static_cast<int64_t>(x.shape.size()) != windows_.axes() + 2) throw Refused("X has not the axes of kernel_shape");
  const int64_t* space_in = x.shape.data() + 1;
  const Convolution windows = has_whole_windows_ ? with_whole_windows(windows_, space_in) : windows_;
  const Geometry g = windows.geometry(space_in);
  const int64_t channels = x.shape.back(), taps = g.taps();
  Shape shape{x.shape[0]};
  const Shape space = windows.output_space(space_in);
  shape.insert(shape.end(), space.begin(), space.end());
  shape.push_back(channels);
  size_of(shape);
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  const int64_t places = y.size() / channels, tasks = std::clamp<int64_t>(y.size() * taps / kFewestBytes, 1, places);
  // QuantizeLinear rounds before it adds the zero point. With an odd one a mean just between two bytes becomes the odd
  // byte: 255 less the even one that 255 less the mean becomes.
  const bool mirrors = static_cast<int>(zero_point_) % 2 != 0;
  for_each(call.parallel(), static_cast<size_t>(tasks), [&](size_t task) {
    const Span span = part_of(places, tasks, 1, static_cast<int64_t>(task));
    auto** positions = reinterpret_cast<const uint8_t**>(scratch(static_cast<size_t>(taps * 8 + channels * 12)));
    auto* sums = reinterpret_cast<int32_t*>(positions + taps);
    auto* scales = reinterpret_cast<float*>(sums + channels);
    auto* offsets = scales + channels;
    int64_t prepared = -1;  // number of places for which scales and offsets are
    for (int64_t place = span.first; place < span.end; ++place) {
      const int64_t count = put_positions(g, channels, x.as<uint8_t>(), place, nullptr, positions);
      uint8_t* to = y.as<uint8_t>() + place * channels;
      if (!is_average_) {
        kernel_.max_of(positions, count, channels, to);
        continue;
      }
      if (count != prepared) {
        const auto total = static_cast<float>(counts_padding_ ? taps : std::max<int64_t>(count, 1));
        const int64_t outside = counts_padding_ ? taps - count : count ? 0 : 1;
        const float offset = static_cast<float>(outside) * zero_point_ / total;
        std::fill_n(scales, channels, mirrors ? -1.0f / total : 1.0f / total);
        std::fill_n(offsets, channels, mirrors ? 255.0f - offset : offset);
        prepared = count;
      }
      kernel_.sum_of(positions, count, channels, sums);
      kernel_.sums_to_bytes(sums, channels, {scales, offsets, nullptr, 0.0f, 0.0f, 255.0f}, to);
      if (mirrors) {
        for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<uint8_t>(255 - to[c]);
      }
    }
  });
}

NmGlobalAveragePoolInt8::NmGlobalAveragePoolInt8(const Node& node, const Implementation& use)
    : kernel_(*use.bytes), scale_(scale_of(node)), zero_point_(static_cast<float>(zero_point_of(node))) {}

void NmGlobalAveragePoolInt8::operator()(const Call& call) const {
  constexpr int64_t kMost = 1 << 23;  // sums fit in 32 bits
  constexpr int64_t kPart = 512;      // channels of a task
  const Tensor x = image_of(call);
  const int64_t images = x.shape[0], channels = x.shape.back();
  Shape shape(x.shape.size(), 1);
  shape[0] = images;
  shape[1] = channels;
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  const int64_t pixels = x.size() / y.size(), parts = (channels + kPart - 1) / kPart;
  if (pixels < 1 || pixels > kMost) throw Refused("an image has no pixel, or more than 2^23");
  for_each(call.parallel(), static_cast<size_t>(images * parts), [&](size_t task) {
    const int64_t image = static_cast<int64_t>(task) / parts, first = static_cast<int64_t>(task) % parts * kPart;
    const int64_t count = std::min(kPart, channels - first);
    auto** positions = reinterpret_cast<const uint8_t**>(scratch(static_cast<size_t>(pixels * 8 + kPart * 4)));
    auto* sums = reinterpret_cast<int32_t*>(positions + pixels);
    for (int64_t p = 0; p < pixels; ++p) positions[p] = x.as<uint8_t>() + (image * pixels + p) * channels + first;
    kernel_.sum_of(positions, pixels, count, sums);
    float* to = y.as<float>() + image * channels + first;
    for (int64_t c = 0; c < count; ++c) {
      to[c] = (static_cast<float>(sums[c]) / static_cast<float>(pixels) - zero_point_) * scale_;
    }
  });
}

}  // namespace domino
