#include "float_direct.h"

#include <algorithm>
#include <cstring>

#include "tiles.h"

namespace domino {
namespace {

constexpr int64_t kBuffer = 6144;             // floats, which stay in the first-level cache with the outputs
constexpr int64_t kWidest = 2048;             // outputs of a row that a task computes
constexpr int64_t kFarthest = 64;             // rows or columns between kernel positions that share what is buffered
constexpr int64_t kRowsAtOnce = 4;
constexpr int64_t kFewestProducts = 1 << 18;  // of a task

// How a task's inputs are buffered. Neighbouring rows of outputs share rows of inputs, if these aren't far apart.
struct Buffering {
  std::vector<Piece> pieces;  // of a row, for outputs from column 0 on
  std::vector<int64_t> offsets;
  int64_t pitch = 0, most_rows = 1, plane = 0, channel = 0, step = 0;  // rows of a plane, floats of a channel
  bool is_shared;

  Buffering(const Geometry& g, int64_t lanes, int64_t columns) : reach_((g.kernel[1] - 1) * g.dilation[1] + 1) {
    is_shared = reach_ <= kFarthest && g.stride[1] <= reach_ && columns == g.output[2];
    const std::vector<int64_t> in_row = put_columns(g, (columns + lanes - 1) / lanes * lanes);
    if (is_shared) {
      const int64_t most = std::max(kBuffer / (pitch * g.kernel[0] * g.channels) - reach_, int64_t{0}) / g.stride[1] + 1;
      most_rows = std::min(most < kRowsAtOnce ? most : most / kRowsAtOnce * kRowsAtOnce, g.output[1]);
      step = g.stride[1] * pitch;
    }
    plane = rows_in(g, most_rows);
    channel = g.kernel[0] * plane * pitch;
    for (int64_t z = 0; z < g.kernel[0]; ++z) {
      for (int64_t y = 0; y < g.kernel[1]; ++y) {
        const int64_t row = z * plane + y * (is_shared ? g.dilation[1] : 1);
        for (int64_t x = 0; x < g.kernel[2]; ++x) {
          for (int64_t c = 0; c < g.channels; ++c) offsets.push_back(c * channel + row * pitch + in_row[x]);
        }
      }
    }
  }

  // Buffered rows of a plane for `rows` rows of outputs.
  int64_t rows_in(const Geometry& g, int64_t rows) const {
    return is_shared ? (rows - 1) * g.stride[1] + reach_ : g.kernel[1];
  }

 private:
  // Where the run of each column of the kernel begins. Columns a multiple of the stride apart share a piece.
  std::vector<int64_t> put_columns(const Geometry& g, int64_t columns) {
    constexpr size_t kLookBack = 4;
    std::vector<size_t> piece_of;
    std::vector<int64_t> shifts;
    for (int64_t tap = 0; tap < g.kernel[2]; ++tap) {
      const int64_t first = tap * g.dilation[2] - g.begin[2];
      size_t place = pieces.size();
      for (size_t i = pieces.size(); i-- > 0 && pieces.size() - i <= kLookBack;) {
        const int64_t apart = first - pieces[i].from;
        if (apart % g.stride[2] == 0 && apart / g.stride[2] <= kFarthest) place = i;
      }
      if (place == pieces.size()) pieces.push_back({first, 0, 0});
      piece_of.push_back(place);
      shifts.push_back((first - pieces[place].from) / g.stride[2]);
      pieces[place].length = columns + shifts.back();
    }
    for (Piece& piece : pieces) {
      piece.to = pitch;
      pitch += piece.length;
    }
    for (size_t tap = 0; tap < shifts.size(); ++tap) shifts[tap] += pieces[piece_of[tap]].to;
    return shifts;
  }

  int64_t reach_;
};

// Rows `first` to `first + rows - 1` of plane z of the outputs of one channel, from column `column` on.
struct Part {
  int64_t z, first, rows, column;

  bool operator==(const Part& other) const {
    return z == other.z && first == other.first && rows == other.rows && column == other.column;
  }
};

// The parts of the outputs of a channel.
std::vector<Part> parts_of(const Geometry& g, int64_t most_rows) {
  std::vector<Part> parts;
  for (int64_t z = 0; z < g.output[0]; ++z) {
    for (int64_t row = 0; row < g.output[1]; row += most_rows) {
      for (int64_t column = 0; column < g.output[2]; column += kWidest) {
        parts.push_back({z, row, std::min(most_rows, g.output[1] - row), column});
      }
    }
  }
  return parts;
}

// A part of the outputs of a group; `image` counts the groups of all images.
struct Unit {
  int64_t image, group, part;

  void next(int64_t parts, int64_t groups) {
    if (++part < parts) return;
    part = 0;
    ++image;
    if (++group == groups) group = 0;
  }
};

// Buffers of the inputs of one part after another. Their padding is put there once, where all parts are alike.
class Buffers {
 public:
  Buffers(const FloatKernel& kernel, const Geometry& g, const Buffering& how, int64_t count)
      : kernel_(kernel),
        g_(g),
        how_(how),
        size_(g.channels * how.channel),
        in_all_(static_cast<size_t>(size_ * count) * sizeof(float)),
        floats_(reinterpret_cast<float*>(scratch(in_all_))) {}

  const float* get(int64_t index) const { return floats_ + index * size_; }

  // The inputs of a part from the image of a group.
  void fill(int64_t index, const float* image, const Part& part) {
    const bool is_like_last = part == last_;
    if (part.column != last_.column) put_columns(part.column);
    last_ = part;
    float* to = floats_ + index * size_;
    for (int64_t c = 0; c < g_.channels; ++c, image += g_.pixels_in()) {
      for (int64_t tap = 0; tap < g_.kernel[0]; ++tap, to += how_.plane * how_.pitch) {
        fill_plane(image, g_.reach(0, part.z, tap), part, is_like_last, to);
      }
    }
  }

 private:
  static int64_t parts_in(int64_t length, int64_t step) { return step == 1 ? length : (length + step - 1) / step; }

  void fill_plane(const float* image, int64_t z, const Part& part, bool has_padding, float* to) const {
    const int64_t rows = how_.rows_in(g_, part.rows), dilation = how_.is_shared ? 1 : g_.dilation[1];
    const int64_t top = g_.reach(1, part.first, 0);
    const bool is_inside = z >= 0 && z < g_.input[0];
    const int64_t begin = is_inside ? std::clamp<int64_t>(parts_in(-top, dilation), 0, rows) : rows;
    const int64_t end = std::clamp<int64_t>(parts_in(g_.input[1] - top, dilation), begin, rows);
    if (!has_padding) {
      std::fill_n(to, begin * how_.pitch, 0.0f);
      std::fill_n(to + end * how_.pitch, (rows - end) * how_.pitch, 0.0f);
    }
    if (begin == end) return;
    kernel_.buffer_rows(image + (z * g_.input[1] + top + begin * dilation) * g_.input[2], end - begin,
                        dilation * g_.input[2], g_.stride[2], pieces_.data(), static_cast<int64_t>(pieces_.size()),
                        how_.pitch, to + begin * how_.pitch);
  }

  // The pieces of outputs from `column` on, without their padding, which is zero from now on.
  void put_columns(int64_t column) {
    std::memset(floats_, 0, in_all_);
    pieces_.clear();
    const int64_t step = g_.stride[2];
    for (const Piece& piece : how_.pieces) {
      const int64_t from = piece.from + column * step;
      const int64_t begin = from < 0 ? std::min((-from + step - 1) / step, piece.length) : 0;
      const int64_t end = std::clamp<int64_t>((g_.input[2] - from + step - 1) / step, begin, piece.length);
      if (begin < end) pieces_.push_back({from + begin * step, piece.to + begin, end - begin});
    }
  }

  const FloatKernel& kernel_;
  const Geometry& g_;
  const Buffering& how_;
  int64_t size_;
  size_t in_all_;
  float* floats_;
  std::vector<Piece> pieces_;
  Part last_{-1, -1, -1, -1};
};

}  // namespace

FloatDirect::FloatDirect(const FloatKernel& kernel, const Rows<float>& rows, std::vector<float> bias,
                               int64_t groups)
    : kernel_(kernel),
      outputs_(rows.count()),
      groups_(groups),
      inputs_(rows.columns_in_all),
      bias_(std::move(bias)),
      weights_(static_cast<size_t>(outputs_ * inputs_), 0.0f) {
  for (int64_t output = 0; output < outputs_; ++output) {
    for (uint32_t at = rows.begin[output]; at < rows.begin[output + 1]; ++at) {
      weights_[output * inputs_ + rows.columns[at]] = rows.values[at];
    }
  }
}

void FloatDirect::image(const Geometry& g, int64_t images, const float* x, const float* residual,
                           const Epilogue& epilogue, float* y, const Parallel& parallel) const {
  const Buffering how(g, kernel_.lanes, std::min(kWidest, g.output[2]));
  const std::vector<Part> parts = parts_of(g, how.most_rows);
  const int64_t of_group = static_cast<int64_t>(parts.size()), total = images * groups_ * of_group;
  const int64_t places = g.pixels_out(), in_group = outputs_ / groups_, image_in = g.channels * g.pixels_in();
  const int64_t products = std::max<int64_t>(places / of_group * inputs_ * in_group, 1);
  const int64_t tasks = std::max<int64_t>(total / std::max<int64_t>(kFewestProducts / products, 1), 1);
  // What was stored isn't there to be loaded at once, so that some groups are buffered before they are computed.
  const int64_t together = of_group > 1 ? 1 : std::clamp<int64_t>(kBuffer / (g.channels * how.channel), 1, 8);
  for_each(parallel, static_cast<size_t>(tasks), [&](size_t task) {
    Buffers buffers(kernel_, g, how, together);
    const Span units = part_of(total, tasks, 1, static_cast<int64_t>(task));
    Unit unit{units.first / of_group, units.first / of_group % groups_, units.first % of_group};
    for (int64_t left = units.length(); left > 0; left -= together) {
      const int64_t count = std::min(together, left);
      Unit filled = unit;
      for (int64_t i = 0; i < count; ++i, filled.next(of_group, groups_)) {
        buffers.fill(i, x + filled.image * image_in, parts[filled.part]);
      }
      for (int64_t i = 0; i < count; ++i, unit.next(of_group, groups_)) {
        const Part& part = parts[unit.part];
        for (int64_t o = 0; o < in_group; ++o) {
          const int64_t output = unit.group * in_group + o;
          const int64_t plane = (unit.image * in_group + o) * g.output[0] + part.z;
          const int64_t to = (plane * g.output[1] + part.first) * g.output[2] + part.column;
          const DirectRows rows{buffers.get(i), how.offsets.data(), weights_.data() + output * inputs_,
                                inputs_, how.step, bias_[output]};
          kernel_.direct(rows, part.rows, std::min(kWidest, g.output[2] - part.column),
                         residual ? residual + to : nullptr, epilogue, y + to);
        }
      }
    }
  });
}

}  // namespace domino
