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

  // The input of row p is what `fill(p, row)` writes: inputs() bytes. `finish(p, first, end, sums)` gets the sums of
  // outputs `first` to `end - 1`, once for each row and part of the outputs. Both are called at the same time.
  template <class Fill, class Finish>
  void run(int64_t group, int64_t count, const Parallel&, Fill&& fill, Finish&& finish) const;

  // A block of outputs, counted through all groups.
  ByteBlock block(int64_t index) const {
    const Packed& packed = packed_[index];
    return {packed.steps.data(), packed.picks.data(), packed.weights.data()};
  }

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

  const ByteKernel& kernel_;
  int64_t outputs_, inputs_, groups_, windows_;
  std::vector<Packed> packed_;  // of each group, one after the other
  std::vector<int32_t> weight_sums_;
};

}  // namespace domino

#include "byte_product.inc"
