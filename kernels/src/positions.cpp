#include "positions.h"

namespace domino {

int64_t put_positions(const Geometry& g, int64_t channels, const uint8_t* x, int64_t place, const uint8_t* around,
                      const uint8_t** positions) {
  const uint8_t** const begin = positions;
  const int64_t at = place % g.pixels_out();
  const uint8_t* image = x + place / g.pixels_out() * g.pixels_in() * channels;
  const int64_t row = at / g.output[2], left = g.reach(2, at % g.output[2], 0);
  for (int64_t a = 0; a < g.kernel[0]; ++a) {
    const int64_t z = g.reach(0, row / g.output[1], a);
    for (int64_t b = 0; b < g.kernel[1]; ++b) {
      const int64_t y = g.reach(1, row % g.output[1], b);
      const bool is_inside = z >= 0 && z < g.input[0] && y >= 0 && y < g.input[1];
      const int64_t line = (z * g.input[1] + y) * g.input[2];
      for (int64_t c = 0; c < g.kernel[2]; ++c) {
        const int64_t column = left + c * g.dilation[2];
        const bool is_there = is_inside && column >= 0 && column < g.input[2];
        const uint8_t* pixel = is_there ? image + (line + column) * channels : around;
        if (pixel) *positions++ = pixel;
      }
    }
  }
  return positions - begin;
}

}  // namespace domino
