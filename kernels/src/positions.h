// Where the inputs of outputs lie in images of bytes with the channels last.
#pragma once

#include "geometry.h"

namespace domino {

// Pixels at the kernel positions of output `place` of all images, in order, and how many they are. Those in the padding
// are at `around`; where that is null they are left out.
int64_t put_positions(const Geometry&, int64_t channels, const uint8_t* x, int64_t place, const uint8_t* around,
                      const uint8_t** positions);

// The same of `count` places from `place` on, of each `apart` pointers further. Those between the edges of a line are
// found from the one before.
void put_positions_of(const Geometry&, int64_t channels, const uint8_t* x, int64_t place, int64_t count,
                      const uint8_t* around, int64_t apart, const uint8_t** positions);

}  // namespace domino
