// Images of bytes made larger by repeating their pixels.
#include <algorithm>
#include <cstring>

#include "attributes.h"
#include "kernels.h"

namespace domino {

NmUpsampleInt8::NmUpsampleInt8(const Node& node, const Implementation&) : factors_(node.integers("factors")) {
  constexpr int64_t kMost = 1 << 10;
  const auto is_possible = [](int64_t factor) { return factor >= 1 && factor <= kMost; };
  if (factors_.empty() || factors_.size() > kAxes || !std::all_of(factors_.begin(), factors_.end(), is_possible)) {
    throw Refused("factors are not 1 to 3 numbers from 1 to 1,024");
  }
}

void NmUpsampleInt8::operator()(const Call& call) const {
  const Tensor x = image_of(call);
  const size_t axes = factors_.size();
  if (x.shape.size() != axes + 2) throw Refused("X has not the axes of factors");
  Shape shape = x.shape;
  int64_t in[kAxes] = {1, 1, 1}, factor[kAxes] = {1, 1, 1};
  for (size_t axis = 0; axis < axes; ++axis) {
    const size_t to = kAxes - axes + axis;
    in[to] = x.shape[1 + axis], factor[to] = factors_[axis];
    shape[1 + axis] *= factor[to];
    size_of(shape);
  }
  const Tensor y = call.output(shape);
  if (!y.size()) return;
  const int64_t channels = x.shape.back(), line = in[2] * channels, wide = line * factor[2];
  for_each(call.parallel(), static_cast<size_t>(x.shape[0] * in[0] * in[1]), [&](size_t task) {
    const auto number = static_cast<int64_t>(task);
    const int64_t row = number % in[1], plane = number / in[1];  // planes of all images are neighbours
    const uint8_t* from = x.as<uint8_t>() + number * line;
    const auto line_at = [&](int64_t a, int64_t b) {
      return y.as<uint8_t>() + ((plane * factor[0] + a) * in[1] * factor[1] + row * factor[1] + b) * wide;
    };
    uint8_t* to = line_at(0, 0);
    for (int64_t place = 0; place < in[2] * factor[2]; ++place) {
      std::memcpy(to + place * channels, from + place / factor[2] * channels, static_cast<size_t>(channels));
    }
    for (int64_t copy = 1; copy < factor[0] * factor[1]; ++copy) {
      std::memcpy(line_at(copy / factor[1], copy % factor[1]), to, static_cast<size_t>(wide));
    }
  });
}

}  // namespace domino
