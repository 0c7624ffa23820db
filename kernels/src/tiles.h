// How a product is cut into tasks: tiles of pixels, and parts of the outputs.
#pragma once

#include <algorithm>
#include <cstdint>

namespace domino {

struct Span {
  int64_t first, end;

  int64_t length() const { return end - first; }
};

// Part `index` of `parts` nearly equal ones of `total`, in whole multiples of `unit` except for the last one.
inline Span part_of(int64_t total, int64_t parts, int64_t unit, int64_t index) {
  const int64_t units = (total + unit - 1) / unit;
  return {std::min(total, units * index / parts * unit), std::min(total, units * (index + 1) / parts * unit)};
}

// `pixels` in tiles of at most `widest`, and `outputs` in parts of at most `most`, so that the sums of a task stay in
// the second-level cache. Few tiles are shared out by outputs too, in parts of `least`, since each packs inputs anew.
struct Tiling {
  int64_t pixels, outputs, lanes, pixel_tiles, output_parts;

  Tiling(int64_t pixels, int64_t outputs, int64_t lanes, int64_t widest, int64_t images, int64_t most = 512,
         int64_t least = 128)
      : pixels(pixels), outputs(outputs), lanes(lanes), pixel_tiles((pixels + widest - 1) / widest) {
    constexpr int64_t kFewTasks = 4;
    output_parts = (outputs + most - 1) / most;
    const int64_t tasks = pixel_tiles * images;
    if (tasks > 0 && tasks < kFewTasks) {
      output_parts = std::max(output_parts, std::min((kFewTasks + tasks - 1) / tasks, outputs / least));
    }
  }

  int64_t count() const { return pixel_tiles * output_parts; }
  Span pixels_of(int64_t task) const { return part_of(pixels, pixel_tiles, lanes, task / output_parts); }
  Span outputs_of(int64_t task) const { return part_of(outputs, output_parts, 1, task % output_parts); }
};

}  // namespace domino
