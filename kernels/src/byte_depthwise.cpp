#include "byte_depthwise.h"

#include <algorithm>
#include <cstring>

namespace domino {
namespace {

// The same sums as products with windows in which each channel picks its own bytes.
Rows<int8_t> in_windows(const Rows<int8_t>& rows, const ByteKernel& kernel, int64_t line, int64_t in_window) {
  const int64_t lanes = kernel.lanes, channels = rows.count(), windows_in_line = (line + in_window - 1) / in_window;
  Rows<int8_t> made;
  made.columns_in_all = rows.columns_in_all / line * windows_in_line * kernel.window;
  made.begin.push_back(0);
  for (int64_t row = 0; row < (channels + lanes - 1) / lanes * lanes; ++row) {
    for (uint32_t at = row < channels ? rows.begin[row] : 0; at < (row < channels ? rows.begin[row + 1] : 0); ++at) {
      const int64_t tap = rows.columns[at], x = tap % line;
      const int64_t window = tap / line * windows_in_line + x / in_window;
      made.columns.push_back(static_cast<uint32_t>(window * kernel.window + x % in_window * lanes + row % lanes));
      made.values.push_back(rows.values[at]);
    }
    made.begin.push_back(static_cast<uint32_t>(made.columns.size()));
  }
  return made;
}

}  // namespace

// How the inputs of a band of output lines are buffered: for each line of the kernel along the first axis `rows` of
// `width` cells, a cell having `lanes` channels of a pixel. Rows and cells are `row_step` and `cell_step` pixels apart.
struct ByteDepthwise::Buffer {
  int64_t lines, columns;  // of outputs, at most
  int64_t rows, width, row_step, cell_step;
  std::vector<int64_t> offsets;  // of the windows of an output

  Buffer(const Geometry& g, int64_t lanes, int64_t windows_in_line, int64_t in_window) {
    constexpr int64_t kBytes = 1 << 15, kWidest = 128;  // in the first-level cache; outputs
    const int64_t taps = windows_in_line * in_window, far = (taps - 1) * g.dilation[2] + 1;
    const int64_t fitting = kBytes / (g.kernel[0] * g.kernel[1] * lanes);
    cell_step = g.dilation[2] > 1 && far > fitting ? g.dilation[2] : 1;
    row_step = g.dilation[1];
    const int64_t reach = cell_step == 1 ? far : taps, dilation = cell_step == 1 ? g.dilation[2] : 1;
    columns = cell_step == 1 ? std::clamp<int64_t>((fitting - reach) / g.stride[2] + 1, 1, kWidest) : 1;
    columns = std::min(columns, g.output[2]);
    width = (columns - 1) * g.stride[2] + reach;
    const int64_t more = row_step == 1 ? (kBytes / (g.kernel[0] * width * lanes) - g.kernel[1]) / g.stride[1] : 0;
    lines = std::clamp<int64_t>(more + 1, 1, g.output[1]);
    rows = (lines - 1) * g.stride[1] + g.kernel[1];
    for (int64_t line = 0; line < g.kernel[0] * g.kernel[1]; ++line) {
      const int64_t row = line / g.kernel[1] * rows + line % g.kernel[1];
      for (int64_t i = 0; i < windows_in_line; ++i) offsets.push_back((row * width + i * in_window * dilation) * lanes);
    }
  }
};

ByteDepthwise::ByteDepthwise(const ByteKernel& kernel, const Rows<int8_t>& rows, int64_t line, int64_t dilation)
    : kernel_(kernel),
      channels_(rows.count()),
      in_window_(dilation == 1 ? std::min(kernel.window / kernel.lanes, kernel.slots) : 1),
      windows_in_line_((line + in_window_ - 1) / in_window_),
      product_(kernel, in_windows(rows, kernel, line, in_window_), (channels_ + kernel.lanes - 1) / kernel.lanes) {}

// The inputs of outputs from (z, y, x) on, of `lanes` channels from `channel` on.
void ByteDepthwise::fill(const Geometry& g, const Buffer& buffer, const int64_t (&place)[kAxes], const uint8_t* image,
                         uint8_t padding, int64_t channel, uint8_t* cells) const {
  const int64_t lanes = kernel_.lanes, channels = std::min(lanes, channels_ - channel), step = buffer.cell_step;
  const int64_t top = g.reach(1, place[1], 0), left = g.reach(2, place[2], 0);
  const auto cells_before = [&](int64_t x) { return std::clamp<int64_t>((x - left + step - 1) / step, 0, buffer.width); };
  const int64_t begin = left < 0 ? cells_before(0) : 0, end = left < g.input[2] ? cells_before(g.input[2]) : 0;
  const auto pad = [&](uint8_t* first, int64_t count) { std::memset(first, padding, static_cast<size_t>(count * lanes)); };
  for (int64_t line = 0; line < g.kernel[0]; ++line) {
    const int64_t z = g.reach(0, place[0], line);
    for (int64_t row = 0; row < buffer.rows; ++row, cells += buffer.width * lanes) {
      const int64_t y = top + row * buffer.row_step;
      if (z < 0 || z >= g.input[0] || y < 0 || y >= g.input[1] || begin >= end) {
        pad(cells, buffer.width);
        continue;
      }
      const int64_t first = (z * g.input[1] + y) * g.input[2] + left + begin * step;
      pad(cells, begin);
      kernel_.spread(image + first * channels_ + channel, channels_ * step, end - begin, channels, cells + begin * lanes);
      pad(cells + end * lanes, buffer.width - end);
    }
  }
}

void ByteDepthwise::bytes(const Geometry& g, int64_t images, const uint8_t* x, uint8_t padding,
                          const Parallel& parallel, const ToBytes& how, uint8_t* y) const {
  constexpr int64_t kFewTasks = 4;
  const int64_t lanes = kernel_.lanes, blocks = (channels_ + lanes - 1) / lanes;
  const Buffer buffer(g, lanes, windows_in_line_, in_window_);
  const int64_t bands = (g.output[1] + buffer.lines - 1) / buffer.lines;
  const int64_t strips = (g.output[2] + buffer.columns - 1) / buffer.columns;
  const int64_t places = images * g.output[0] * bands * strips;
  const int64_t parts = places < kFewTasks ? std::min(blocks, (kFewTasks + places - 1) / places) : 1;
  for_each(parallel, static_cast<size_t>(places * parts), [&](size_t index) {
    const auto task = static_cast<int64_t>(index);
    const int64_t place = task / parts, plane = place / strips / bands, image = plane / g.output[0];
    const Span lines = part_of(g.output[1], bands, 1, place / strips % bands);
    const Span columns = part_of(g.output[2], strips, 1, place % strips), part = part_of(blocks, parts, 1, task % parts);
    const int64_t tiles = (columns.length() + kernel_.pixels - 1) / kernel_.pixels;
    uint8_t* cells = scratch(static_cast<size_t>(g.kernel[0] * buffer.rows * buffer.width * lanes + kernel_.window));
    for (int64_t block = part.first; block < part.end; ++block) {
      const int64_t channel = block * lanes, outputs = std::min(lanes, channels_ - channel);
      fill(g, buffer, {plane % g.output[0], lines.first, columns.first}, x + image * g.pixels_in() * channels_, padding,
           channel, cells);
      for (int64_t line = lines.first; line < lines.end; ++line) {
        const uint8_t* row = cells + (line - lines.first) * g.stride[1] * buffer.width * lanes;
        for (int64_t i = 0; i < tiles; ++i) {
          const Span tile = part_of(columns.length(), tiles, 1, i);
          const int64_t to = (plane * g.output[1] + line) * g.output[2] + columns.first + tile.first;
          kernel_.to_bytes(product_.blocks(block),
                           {row + tile.first * g.stride[2] * lanes, g.stride[2] * lanes, buffer.offsets.data(),
                            static_cast<int64_t>(buffer.offsets.size()), static_cast<int>(tile.length())},
                           outputs, how.from(channel, to, channels_), channels_,
                           y + to * channels_ + channel);
        }
      }
    }
  });
}

}  // namespace domino
