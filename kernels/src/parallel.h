// How work is shared out: by ONNX Runtime's own threads in an operator, in turn elsewhere.
#pragma once

#include <cstddef>
#include <functional>

namespace domino {

using Parallel = std::function<void(void (*body)(void* data, size_t index), size_t total, void* data)>;

// Calls body(index) for each index below `total`, in any order, at the same time.
template <class Body>
void for_each(const Parallel& parallel, size_t total, Body&& body) {
  if (total == 1) return body(size_t{0});
  parallel([](void* data, size_t index) { (*static_cast<std::remove_reference_t<Body>*>(data))(index); }, total, &body);
}

inline void in_turn(void (*body)(void*, size_t), size_t total, void* data) {
  for (size_t index = 0; index < total; ++index) body(data, index);
}

// A buffer of this thread, aligned to 64 bytes; it grows, and holds until the next call on the same thread.
unsigned char* scratch(size_t bytes);

}  // namespace domino
