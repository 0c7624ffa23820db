// Where the inputs of outputs lie in images of bytes with the channels last.
#pragma once

#include "geometry.h"

namespace domino {

// Pixels at the kernel positions of output `place` of all images, in order, and how many they are. Those in the padding
// are at `around`; where that is null they are left out.
int64_t put_positions(const Geometry&, int64_t channels, const uint8_t* x, int64_t place, const uint8_t* around,
                      const uint8_t** positions);

}  // namespace domino
