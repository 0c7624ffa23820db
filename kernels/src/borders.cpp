// Where floats become bytes with the channels last, and bytes floats again.
#include <algorithm>

#include "attributes.h"
#include "kernels.h"
#include "tiles.h"

namespace domino {
namespace {

// Calls work(image, first pixel, number of pixels) for all tiles of all images, at the same time.
template <class Work>
void for_each_tile(const Call& call, int64_t images, int64_t pixels, Work&& work) {
  const int64_t tiles = (pixels + kBorderPixels - 1) / kBorderPixels;
  for_each(call.parallel(), static_cast<size_t>(images * tiles), [&](size_t index) {
    const int64_t first = static_cast<int64_t>(index) % tiles * kBorderPixels;
    work(static_cast<int64_t>(index) / tiles, first, std::min(kBorderPixels, pixels - first));
  });
}

}  // namespace

NmToBytes::NmToBytes(const Node& node, const Implementation& use) : kernel_(*use.bytes), grid_{scale_of(node), zero_point_of(node)} {}

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
    kernel_.to_channels_last(x.as<float>() + image * channels * pixels + first, pixels, count, channels, grid_,
                             y.as<uint8_t>() + (image * pixels + first) * channels);
  });
}

NmToFloats::NmToFloats(const Node& node, const Implementation& use) : kernel_(*use.bytes), grid_{scale_of(node), zero_point_of(node)} {}

void NmToFloats::operator()(const Call& call) const {
  const Tensor x = image_of(call);
  const int64_t images = x.shape[0], channels = x.shape.back();
  Shape shape{images, channels};
  shape.insert(shape.end(), x.shape.begin() + 1, x.shape.end() - 1);
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  const int64_t pixels = y.size() / images / channels;
  for_each_tile(call, images, pixels, [&](int64_t image, int64_t first, int64_t count) {
    kernel_.to_planes(x.as<uint8_t>() + (image * pixels + first) * channels, count, channels, grid_, pixels,
                      y.as<float>() + image * channels * pixels + first);
  });
}

}  // namespace domino
