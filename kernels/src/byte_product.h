// int8: weights packed for one instruction set, and their product with rows of unsigned bytes.
#pragma once

#include <vector>

#include "byte_kernel.h"
#include "geometry.h"
#include "parallel.h"
#include "tiles.h"
#include "weights.h"

namespace domino {

class ByteProduct {
 public:
  ByteProduct(const ByteKernel& kernel, const Rows<int8_t>& rows, int64_t groups);
  ByteProduct(const ByteProduct&) = delete;  // blocks_ points into packed_

  // Rows of inputs() bytes, `pitch` bytes from each other. Of the last one, up to kernel().window - 1 bytes more are read.
  struct Inputs {
    const uint8_t* x;
    int64_t pitch;
  };

  // Where the inputs of some rows lie is what `inputs_of(rows, space)` returns; several threads call it at once. `space`
  // has room for them, one after the other with pitch() bytes each. `how` and `y` are those of the first row and of the
  // group's first output; rows of `y` are `stride` apart.
  template <class InputsOf>
  void bytes(int64_t group, int64_t count, const Parallel& parallel, InputsOf&& inputs_of, const ToBytes& how,
             int64_t stride, uint8_t* y) const {
    run(kernel_.to_bytes, group, count, parallel, inputs_of, how, stride, y);
  }
  template <class InputsOf>
  void floats(int64_t group, int64_t count, const Parallel& parallel, InputsOf&& inputs_of, const ToFloats& how,
              int64_t stride, float* y) const {
    run(kernel_.to_floats, group, count, parallel, inputs_of, how, stride, y);
  }

  // Of a row in the space of a task: an odd number of lines of the cache, so that rows don't share a few sets of it.
  int64_t pitch() const {
    constexpr int64_t kLine = 64;
    return ((windows_ * kernel_.window + kLine - 1) / kLine | 1) * kLine;
  }

  // The blocks of outputs from `index` on, counted through all groups.
  const ByteBlock* blocks(int64_t index) const { return blocks_.data() + index; }

  const ByteKernel& kernel() const { return kernel_; }
  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t groups() const { return groups_; }
  // Sum of the weights of an output, by which a zero point of the inputs is taken out.
  const std::vector<int32_t>& weight_sums() const { return weight_sums_; }

 private:
  struct Packed {  // one block of outputs
    std::vector<uint32_t> steps;
    std::vector<uint8_t> picks, weights;
  };

  Packed packed_block(const Rows<int8_t>& rows, int64_t first, int64_t end) const;
  template <class Multiply, class InputsOf, class How, class Value>
  void run(Multiply multiply, int64_t group, int64_t count, const Parallel&, InputsOf&&, const How&, int64_t stride,
           Value* y) const;

  const ByteKernel& kernel_;
  int64_t outputs_, inputs_, groups_, windows_;
  std::vector<Packed> packed_;  // of each group, one after the other
  std::vector<ByteBlock> blocks_;
  std::vector<int32_t> weight_sums_;
  std::vector<int64_t> offsets_;  // of the windows of a row
};

}  // namespace domino

#include "byte_product.inc"
