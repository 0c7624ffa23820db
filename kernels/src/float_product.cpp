#include "float_product.h"

namespace domino {

FloatProduct::FloatProduct(const FloatKernel& kernel, const Rows<float>& rows, std::vector<float> bias, int64_t groups)
    : kernel_(kernel),
      outputs_(rows.count()),
      inputs_(rows.columns_in_all),
      groups_(groups),
      blocks_((inputs_ + kernel.block - 1) / kernel.block),
      bias_(std::move(bias)),
      packed_(static_cast<size_t>(groups * blocks_)) {
  const int64_t in_group = outputs_ / groups;
  for (int64_t output = 0; output < outputs_; ++output) {
    uint32_t at = rows.begin[output];
    const uint32_t end = rows.begin[output + 1];
    for (int64_t block = 0; block < blocks_; ++block) {
      Packed& packed = packed_[output / in_group * blocks_ + block];
      if (output % in_group == 0) packed.quads.push_back(0);
      const int64_t first = block * kernel.block;
      for (; at < end && rows.columns[at] < first + kernel.block; ++at) {
        packed.offsets.push_back(static_cast<uint16_t>((rows.columns[at] - first) * kernel.width()));
        packed.values.push_back(rows.values[at]);
      }
      while (packed.values.size() % 4) {
        packed.offsets.push_back(static_cast<uint16_t>(kernel.block * kernel.width()));  // the line of zeros
        packed.values.push_back(0.0f);
      }
      packed.quads.push_back(static_cast<uint32_t>(packed.values.size() / 4));
    }
  }
}

template <class PanelOf>
void FloatProduct::sum(int64_t group, Span outputs, int64_t pixels, float* sums, const FloatOutput* image,
                       PanelOf&& panel_of) const {
  const float* bias = bias_.data() + group * (outputs_ / groups_) + outputs.first;
  for (int64_t block = 0; block < blocks_; ++block) {
    const Packed& packed = packed_[group * blocks_ + block];
    kernel_.multiply({packed.quads.data() + outputs.first, packed.offsets.data(), packed.values.data()},
                     outputs.length(), block == 0 ? bias : nullptr, panel_of(block), static_cast<int>(pixels), sums,
                     block == blocks_ - 1 ? image : nullptr);
  }
}

template <class Pack, class Use>
void FloatProduct::share_out(const Tiling& tiling, int64_t parts, const Parallel& parallel, Pack&& pack,
                             Use&& use) const {
  const int64_t panel_size = (kernel_.block + 1) * kernel_.width();
  for_each(parallel, static_cast<size_t>(parts * tiling.count()), [&](size_t index) {
    const int64_t part = static_cast<int64_t>(index) / tiling.count();
    const int64_t place = static_cast<int64_t>(index) % tiling.count();
    // One tile of pixels after another takes the same outputs, whose weights then stay in the second-level cache.
    const int64_t task = place % tiling.pixel_tiles * tiling.output_parts + place / tiling.pixel_tiles;
    const Span pixels = tiling.pixels_of(task), outputs = tiling.outputs_of(task);
    auto* panel = reinterpret_cast<float*>(scratch((outputs.length() * kernel_.width() + panel_size) * sizeof(float)));
    use(part, pixels, outputs, panel + panel_size, [&](int64_t block) {
      pack(part, pixels, block, panel);
      std::fill_n(panel + kernel_.block * kernel_.width(), kernel_.width(), 0.0f);
      return panel;
    });
  });
}

void FloatProduct::image(const Geometry& geometry, int64_t images, const float* x, const float* residual,
                         const Epilogue& epilogue, float* y, const Parallel& parallel) const {
  const int64_t in_group = outputs_ / groups_, places = geometry.pixels_out();
  const int64_t image_in = geometry.channels * geometry.pixels_in();
  share_out(
      Tiling(places, in_group, kernel_.lanes, kernel_.width(), images * groups_), images * groups_, parallel,
      [&](int64_t part, Span pixels, int64_t block, float* panel) {
        kernel_.pack_image(geometry, x + part * image_in, pixels.first, static_cast<int>(pixels.length()),
                           block * kernel_.block, std::min((block + 1) * kernel_.block, inputs_), panel);
      },
      [&](int64_t part, Span pixels, Span outputs, float* sums, auto&& panel_of) {
        const int64_t to = (part * in_group + outputs.first) * places + pixels.first;
        const FloatOutput out{y + to, residual ? residual + to : nullptr, places, epilogue};
        sum(part % groups_, outputs, pixels.length(), sums, &out, panel_of);
      });
}

void FloatProduct::matrix(int64_t count, const float* x, const float* residual, const Epilogue& epilogue,
                          float* y, const Parallel& parallel) const {
  share_out(
      Tiling(count, outputs_, kernel_.lanes, kernel_.width(), 1), 1, parallel,
      [&](int64_t, Span rows, int64_t block, float* panel) {
        kernel_.pack_rows(x + rows.first * inputs_, inputs_, static_cast<int>(rows.length()), block * kernel_.block,
                          std::min((block + 1) * kernel_.block, inputs_), panel);
      },
      [&](int64_t, Span rows, Span outputs, float* sums, auto&& panel_of) {
        sum(0, outputs, rows.length(), sums, nullptr, panel_of);
        const int64_t to = rows.first * outputs_ + outputs.first;
        kernel_.store_rows(sums, outputs.length(), static_cast<int>(rows.length()),
                           {y + to, residual ? residual + to : nullptr, outputs_, epilogue});
      });
}

}  // namespace domino
