#include "byte_depthwise.h"

namespace domino {
namespace {

// The same sums as products with windows in which each channel picks its own bytes.
Rows<int8_t> in_windows(const Rows<int8_t>& rows, const ByteKernel& kernel, int64_t in_window) {
  const int64_t lanes = kernel.lanes, channels = rows.count();
  Rows<int8_t> made;
  made.columns_in_all = (rows.columns_in_all + in_window - 1) / in_window * kernel.window;
  made.begin.push_back(0);
  for (int64_t row = 0; row < (channels + lanes - 1) / lanes * lanes; ++row) {
    for (uint32_t at = row < channels ? rows.begin[row] : 0; at < (row < channels ? rows.begin[row + 1] : 0); ++at) {
      const int64_t tap = rows.columns[at];
      made.columns.push_back(
          static_cast<uint32_t>(tap / in_window * kernel.window + tap % in_window * lanes + row % lanes));
      made.values.push_back(rows.values[at]);
    }
    made.begin.push_back(static_cast<uint32_t>(made.columns.size()));
  }
  return made;
}

}  // namespace

ByteDepthwise::ByteDepthwise(const ByteKernel& kernel, const Rows<int8_t>& rows)
    : kernel_(kernel),
      channels_(rows.count()),
      taps_(rows.columns_in_all),
      in_window_(std::min(kernel.window / kernel.lanes, kernel.slots)),
      windows_((taps_ + in_window_ - 1) / in_window_),
      count_(windows_ * in_window_),
      product_(kernel, in_windows(rows, kernel, in_window_), (channels_ + kernel.lanes - 1) / kernel.lanes) {}

}  // namespace domino
