// The instruction sets that are compiled in, and which of them this processor has.
#pragma once

#include <vector>

#include "byte_kernel.h"
#include "float_kernel.h"

namespace domino {

struct Implementation {
  const char* name;
  const FloatKernel* floats;
  const ByteKernel* bytes;
  bool (*is_supported)();
};

// All that run here, the best one last; the first is plain C++.
const std::vector<Implementation>& implementations();

// The one to use: the best, or what the environment variable DOMINO_ONNX_KERNELS names. Throws Refused if that isn't
// among `implementations`.
const Implementation& chosen();

}  // namespace domino
