#include "byte_product.h"

namespace domino {

ByteProduct::ByteProduct(const ByteKernel& kernel, const Rows<int8_t>& rows, int64_t groups)
    : kernel_(kernel),
      outputs_(rows.count()),
      inputs_(rows.columns_in_all),
      groups_(groups),
      windows_((inputs_ + kernel.window - 1) / kernel.window) {
  const int64_t in_group = outputs_ / groups;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t first = 0; first < in_group; first += kernel.lanes) {
      const int64_t end = std::min(first + kernel.lanes, in_group);
      packed_.push_back(packed_block(rows, group * in_group + first, group * in_group + end));
    }
  }
  for (const Packed& each : packed_) blocks_.push_back({each.steps.data(), each.picks.data(), each.weights.data()});
  for (int64_t w = 0; w < windows_; ++w) offsets_.push_back(w * kernel.window);
  for (int64_t output = 0; output < outputs_; ++output) {
    int32_t sum = 0;
    for (uint32_t at = rows.begin[output]; at < rows.begin[output + 1]; ++at) sum += rows.values[at];
    weight_sums_.push_back(sum);
  }
}

// Each step has 4 bytes an output. With 2 slots, a pick is followed by 0x80, which picks nothing, and a weight by its
// sign: 16-bit numbers.
ByteProduct::Packed ByteProduct::packed_block(const Rows<int8_t>& rows, int64_t first, int64_t end) const {
  const int slots = kernel_.slots, bytes = 4 / slots;
  Packed packed;
  std::vector<uint32_t> at(rows.begin.begin() + first, rows.begin.begin() + end);
  for (int64_t w = 0; w < windows_; ++w) {
    const int64_t origin = w * kernel_.window;
    uint32_t steps = 0;
    std::vector<uint32_t> stop(at);
    for (size_t lane = 0; lane < at.size(); ++lane) {
      const uint32_t row_end = rows.begin[first + static_cast<int64_t>(lane) + 1];
      while (stop[lane] < row_end && rows.columns[stop[lane]] < origin + kernel_.window) ++stop[lane];
      steps = std::max(steps, (stop[lane] - at[lane] + slots - 1) / slots);
    }
    const size_t behind = packed.picks.size();
    packed.steps.push_back(steps);
    packed.picks.resize(behind + steps * 4 * static_cast<size_t>(kernel_.lanes), bytes == 2 ? 0x80 : 0);
    packed.weights.resize(packed.picks.size(), 0);
    for (size_t lane = 0; lane < at.size(); ++lane) {
      for (uint32_t i = 0; at[lane] < stop[lane]; ++at[lane], ++i) {
        const size_t to = behind + (i / slots * static_cast<size_t>(kernel_.lanes) + lane) * 4 + i % slots * bytes;
        const int8_t weight = rows.values[at[lane]];
        packed.picks[to] = static_cast<uint8_t>(rows.columns[at[lane]] - origin);
        packed.weights[to] = static_cast<uint8_t>(weight);
        if (bytes == 2) packed.weights[to + 1] = weight < 0 ? 0xff : 0;
      }
    }
  }
  return packed;
}

}  // namespace domino
