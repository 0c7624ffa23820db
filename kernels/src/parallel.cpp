#include "parallel.h"

#include <memory>
#include <new>

namespace domino {
namespace {

struct Free {
  void operator()(unsigned char* buffer) const { ::operator delete(buffer, std::align_val_t{64}); }
};

}  // namespace

unsigned char* scratch(size_t bytes) {
  thread_local std::unique_ptr<unsigned char, Free> buffer;
  thread_local size_t size = 0;
  if (bytes > size) {
    buffer.reset();
    size = 0;
    buffer.reset(static_cast<unsigned char*>(::operator new(bytes, std::align_val_t{64})));
    size = bytes;
  }
  return buffer.get();
}

}  // namespace domino
