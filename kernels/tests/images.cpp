// Convolutions and pools.
#include "byte_depthwise.h"
#include "convolution.h"
#include "drawn.h"
#include "float_direct.h"
#include "float_product.h"

namespace domino {
namespace {

// A convolution of 1 to 3 axes, and an input's sizes in space.
std::pair<Convolution, Shape> any_convolution(int64_t groups, int64_t in_group, int64_t most_outputs, int64_t widest) {
  const int64_t axes = between(1, 3), most = between(0, 2) ? 3 : 6;
  Convolution convolution;
  convolution.groups = groups;
  convolution.weight = {groups * between(1, most_outputs), in_group};
  Shape space;
  for (int64_t axis = 0; axis < axes; ++axis) {
    convolution.weight.push_back(between(1, 3));
    convolution.strides.push_back(between(1, most));
    convolution.dilations.push_back(between(1, most - 1));
    space.push_back(between(2 * most, axes == 1 ? widest : axes == 2 ? 40 : 13));
  }
  for (int64_t i = 0; i < 2 * axes; ++i) convolution.pads.push_back(between(0, 3));
  convolution.check();
  return {convolution, space};
}

// The same with as many outputs as inputs along each axis, or half of them, as in most networks.
std::pair<Convolution, Shape> same_convolution(int64_t groups, int64_t in_group, int64_t most_outputs) {
  auto [convolution, space] = any_convolution(groups, in_group, most_outputs, 300);
  const size_t axes = space.size();
  const int64_t stride = between(0, 2) ? 1 : 2;
  for (size_t axis = 0; axis < axes; ++axis) {
    const int64_t around = (convolution.weight[axis + 2] - 1) * convolution.dilations[axis];
    convolution.strides[axis] = stride;
    convolution.pads[axis] = around / 2;
    convolution.pads[axis + axes] = around - around / 2;
  }
  return {convolution, space};
}

// Where kernel position `tap` of output `place` lies in a plane of the input; -1 in the padding.
int64_t input_of(const Geometry& g, int64_t place, int64_t tap) {
  const int64_t a = g.reach(0, place / (g.output[1] * g.output[2]), tap / (g.kernel[1] * g.kernel[2]));
  const int64_t b = g.reach(1, place / g.output[2] % g.output[1], tap / g.kernel[2] % g.kernel[1]);
  const int64_t c = g.reach(2, place % g.output[2], tap % g.kernel[2]);
  const bool is_inside = a >= 0 && b >= 0 && c >= 0 && a < g.input[0] && b < g.input[1] && c < g.input[2];
  return is_inside ? (a * g.input[1] + b) * g.input[2] + c : -1;
}

template <class Product>
void check_image(const Implementation& use, const Convolution& convolution, const Shape& space,
                 const Weight<float>& weight, const char* what) {
  const Geometry g = convolution.geometry(space.data());
  const int64_t groups = convolution.groups, in_group = g.channels;
  const Epilogue epilogue{{-4, 6}, any_activation()};
  const int64_t images = between(1, 2), places = g.pixels_out(), pixels = g.pixels_in(), outputs = weight.rows;
  std::vector<float> x(images * groups * in_group * pixels), bias(outputs), y(images * outputs * places);
  std::vector<float> residual(y.size());
  for (auto* values : {&x, &bias, &residual}) {
    for (float& each : *values) each = any_value<float>();
  }
  const bool has_residual = between(0, 1);
  Product(*use.floats, weight.stored_rows(), bias, groups)
      .image(g, images, x.data(), has_residual ? residual.data() : nullptr, epilogue, y.data(), in_turn);
  for (int64_t i = 0; i < images * outputs * places; ++i) {
    const int64_t place = i % places, o = i / places % outputs, image = i / places / outputs;
    const float* from = x.data() + (image * groups + o / (outputs / groups)) * in_group * pixels;
    double sum = bias[o] + (has_residual ? residual[i] : 0);
    for (int64_t k = 0; k < weight.columns; ++k) {
      const int64_t at = input_of(g, place, k / in_group);
      if (at >= 0) sum += double{weight.dense[o * weight.columns + k]} * from[k % in_group * pixels + at];
    }
    expect(close(y[i], activated(std::fmin(std::fmax(sum, -4), 6), epilogue.activation)), use.name, what);
  }
}

void check_float_image(const Implementation& use) {
  const auto [n, m] = any_scheme();
  const auto [convolution, space] = any_convolution(between(1, 3), m * between(1, 1 + 64 / m), 9, 300);
  const Weight<float> weight(convolution.outputs(), convolution.columns(), n, m, false);
  check_image<FloatProduct>(use, convolution, space, weight, "float image");
}

void check_same_image(const Implementation& use) {
  const auto [n, m] = any_scheme();
  const auto [convolution, space] = same_convolution(between(1, 2), m * between(1, 1 + 64 / m), 9);
  const Weight<float> weight(convolution.outputs(), convolution.columns(), n, m, false);
  check_image<FloatProduct>(use, convolution, space, weight, "float image of the same size");
}

void check_float_direct(const Implementation& use) {
  const bool is_depthwise = between(0, 1);
  const auto [convolution, space] = any_convolution(between(1, 9), is_depthwise ? 1 : between(1, 4), 3, 5000);
  const Weight<float> weight(convolution.outputs(), convolution.columns(), 1, 1, true);
  check_image<FloatDirect>(use, convolution, space, weight, "direct");
}

// Kernel positions that lie too far from each other to buffer what is between them.
std::pair<Convolution, Shape> any_dilated(int64_t groups) {
  Convolution convolution;
  convolution.groups = groups;
  convolution.weight = {groups, 1, between(2, 5)};
  convolution.strides = {between(1, 900)};
  convolution.dilations = {between(200, 3000)};
  convolution.pads = {between(0, 4000), between(0, 4000)};
  convolution.check();
  return {convolution, {between(12000, 13000)}};
}

void check_byte_depthwise(const Implementation& use) {
  const auto [convolution, space] = between(0, 9) ? any_convolution(between(2, 70), 1, 1, 300) : any_dilated(between(2, 20));
  const Geometry g = convolution.geometry(space.data());
  const int64_t images = between(1, 2), channels = convolution.groups, places = g.pixels_out(), pixels = g.pixels_in();
  const Weight<int8_t> weight(channels, convolution.columns(), 1, 1, true);
  const auto padding = static_cast<uint8_t>(between(0, 255));
  std::vector<uint8_t> x(images * channels * pixels);
  for (uint8_t& each : x) each = static_cast<uint8_t>(between(0, 3) ? between(0, 255) : 255);
  const Scaled how(channels, images * places, between(0, 1));
  std::vector<uint8_t> y(images * places * channels);
  ByteDepthwise(*use.bytes, weight.stored_rows(), convolution.weight.back(), convolution.dilations.back())
      .bytes(g, images, x.data(), padding, in_turn, how.to_bytes(), y.data());
  for (int64_t p = 0; p < images * places; ++p) {
    for (int64_t c = 0; c < channels; ++c) {
      int32_t sum = 0;
      for (int64_t k = 0; k < weight.columns; ++k) {
        const int64_t at = input_of(g, p % places, k);
        const uint8_t byte = at < 0 ? padding : x[(p / places * pixels + at) * channels + c];
        sum += byte * weight.dense[c * weight.columns + k];
      }
      expect(how.agrees(y[p * channels + c], sum, p, c), use.name, "int8 depthwise");
    }
  }
}

void check_pools(const Implementation& use) {
  const int64_t count = between(0, 30), channels = between(1, 100);
  std::vector<uint8_t> x(count * channels), most(channels);
  std::vector<const uint8_t*> positions;
  std::vector<int32_t> sums(channels);
  for (uint8_t& each : x) each = static_cast<uint8_t>(between(0, 255));
  for (int64_t i = 0; i < count; ++i) positions.push_back(x.data() + i * channels);
  use.bytes->max_of(positions.data(), count, channels, most.data());
  use.bytes->sum_of(positions.data(), count, channels, sums.data());
  for (int64_t c = 0; c < channels; ++c) {
    int largest = 0, sum = 0;
    for (const uint8_t* pixel : positions) {
      largest = std::max<int>(largest, pixel[c]);
      sum += pixel[c];
    }
    expect(most[c] == largest && sums[c] == sum, use.name, "pools");
  }
}

// Borders between floats and bytes with the channels last.
void check_borders(const Implementation& use) {
  const int64_t pixels = between(1, kBorderPixels), channels = between(1, 40), apart = pixels + between(0, 5);
  const Grid grid{static_cast<float>(between(1, 99)) / 64, static_cast<int32_t>(between(0, 255))};
  constexpr uint8_t kUntouched = 77;
  std::vector<float> x(channels * apart), back(x.size(), kUntouched);
  std::vector<uint8_t> y(pixels * channels + 8, kUntouched);
  for (float& each : x) each = between(0, 9) ? any_value<float>() * 37 : between(0, 1) ? NAN : 1e30f;
  use.bytes->to_channels_last(x.data(), apart, pixels, channels, grid, y.data());
  use.bytes->to_planes(y.data(), pixels, channels, grid, apart, back.data());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t p = 0; p < apart; ++p) {
      if (p >= pixels) {
        expect(back[c * apart + p] == kUntouched, use.name, "beyond a plane");
        continue;
      }
      const float value = x[c * apart + p];
      const auto whole = std::nearbyint(value / grid.scale) + static_cast<float>(grid.zero_point);
      const double wanted = std::isnan(value) ? 0 : std::fmin(std::fmax(whole, 0), 255);
      expect(y[p * channels + c] == wanted, use.name, "to bytes");
      expect(back[c * apart + p] == static_cast<float>(wanted - grid.zero_point) * grid.scale, use.name, "to floats");
    }
  }
  for (size_t i = pixels * channels; i < y.size(); ++i) expect(y[i] == kUntouched, use.name, "beyond the pixels");
}

}  // namespace

void check_images(const Implementation& use) {
  check_float_image(use);
  check_same_image(use);
  check_float_direct(use);
  check_byte_depthwise(use);
  check_pools(use);
  check_borders(use);
}

}  // namespace domino
