// Where floats become bytes with the channels last, and bytes floats again.
#include <algorithm>

#include "attributes.h"
#include "kernels.h"
#include "tiles.h"

namespace domino {
namespace {

constexpr int64_t kPixels = 64;  // of a tile

// Calls work(image, first pixel, number of pixels) for all tiles of all images, at the same time.
template <class Work>
void for_each_tile(const Call& call, int64_t images, int64_t pixels, Work&& work) {
  const int64_t tiles = (pixels + kPixels - 1) / kPixels;
  for_each(call.parallel(), static_cast<size_t>(images * tiles), [&](size_t index) {
    const int64_t first = static_cast<int64_t>(index) % tiles * kPixels;
    work(static_cast<int64_t>(index) / tiles, first, std::min(kPixels, pixels - first));
  });
}

}  // namespace

NmToBytes::NmToBytes(const Node& node, const Implementation&)
    : scale_(scale_of(node)), zero_point_(zero_point_of(node)) {}

void NmToBytes::operator()(const Call& call) const {
  const Tensor x = image_of(call);
  const int64_t images = x.shape[0], channels = x.shape[1];
  Shape shape{images};
  shape.insert(shape.end(), x.shape.begin() + 2, x.shape.end());
  const int64_t pixels = size_of(shape) / std::max<int64_t>(images, 1);
  shape.push_back(channels);
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  for_each_tile(call, images, pixels, [&](int64_t image, int64_t first, int64_t count) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      const float* from = x.as<float>() + (image * channels + channel) * pixels + first;
      uint8_t* to = y.as<uint8_t>() + (image * pixels + first) * channels + channel;
      uint8_t bytes[kPixels];
      for (int64_t p = 0; p < count; ++p) {
        float value = from[p] / scale_;
        value = value > -zero_point_ ? value : -zero_point_;  // NaN becomes the smallest
        value = value < 255.0f - zero_point_ ? value : 255.0f - zero_point_;
        constexpr float kShift = 12582912.0f;  // rounds away all further bits, to the nearest even
        bytes[p] = static_cast<uint8_t>(static_cast<int32_t>((value + kShift) - kShift + zero_point_));
      }
      for (int64_t p = 0; p < count; ++p) to[p * channels] = bytes[p];
    }
  });
}

NmToFloats::NmToFloats(const Node& node, const Implementation&)
    : scale_(scale_of(node)), zero_point_(zero_point_of(node)) {}

void NmToFloats::operator()(const Call& call) const {
  const Tensor x = image_of(call);
  const int64_t images = x.shape[0], channels = x.shape.back();
  Shape shape{images, channels};
  shape.insert(shape.end(), x.shape.begin() + 1, x.shape.end() - 1);
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  const int64_t pixels = y.size() / images / channels;
  for_each_tile(call, images, pixels, [&](int64_t image, int64_t first, int64_t count) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      const uint8_t* from = x.as<uint8_t>() + (image * pixels + first) * channels + channel;
      float* to = y.as<float>() + (image * channels + channel) * pixels + first;
      for (int64_t p = 0; p < count; ++p) to[p] = (static_cast<float>(from[p * channels]) - zero_point_) * scale_;
    }
  });
}

}  // namespace domino
