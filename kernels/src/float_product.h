// float32: weights packed for one instruction set, and their product with images or with rows of a matrix.
#pragma once

#include <vector>

#include "float_kernel.h"
#include "parallel.h"
#include "tiles.h"
#include "weights.h"

namespace domino {

class FloatProduct {
 public:
  // Outputs fall in `groups` equal parts, each with the same `rows.columns_in_all` inputs of its own group.
  FloatProduct(const FloatKernel& kernel, const Rows<float>& rows, std::vector<float> bias, int64_t groups);

  // y = epilogue(weights x image + bias + residual); all in the order (image, channel, place). `residual` may be null.
  void image(const Geometry&, int64_t images, const float* x, const float* residual, const Epilogue&, float* y,
             const Parallel&) const;
  // y = epilogue(x x weights' + bias + residual) of `count` rows.
  void matrix(int64_t count, const float* x, const float* residual, const Epilogue&, float* y, const Parallel&) const;

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }

 private:
  struct Packed {  // of one group and one block of inputs
    std::vector<uint32_t> quads;
    std::vector<uint16_t> offsets;
    std::vector<float> values;
  };

  // Shares out `parts` images or groups of them: `pack(part, pixels, block, panel)` fills a panel of a tile, and
  // `use(part, pixels, outputs, sums, panel_of)` does the rest; `panel_of(block)` packs a panel and gives it.
  template <class Pack, class Use>
  void share_out(const Tiling&, int64_t parts, const Parallel&, Pack&& pack, Use&& use) const;
  // Sums up all inputs of some outputs of a group. `image` as in FloatKernel.
  template <class PanelOf>
  void sum(int64_t group, Span outputs, int64_t pixels, float* sums, const FloatOutput* image,
           PanelOf&& panel_of) const;

  const FloatKernel& kernel_;
  int64_t outputs_, inputs_, groups_, blocks_;
  std::vector<float> bias_;
  std::vector<Packed> packed_;
};

}  // namespace domino
