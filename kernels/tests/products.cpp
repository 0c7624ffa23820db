// Every instruction set of this processor against sums that are added up one by one, over random shapes and schemes.
//
// Needs neither ONNX Runtime nor Python. The last line says how many products were right.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "byte_product.h"
#include "convolution.h"
#include "float_product.h"
#include "implementations.h"

using namespace domino;

namespace {

std::mt19937 random_bits(7);

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

template <class Value>
Value any_value();
template <>
float any_value<float>() {
  return static_cast<float>(between(-8, 8)) / 4;
}
template <>
int8_t any_value<int8_t>() {
  return static_cast<int8_t>(between(-128, 127));
}

// A weight with at most n of every m columns not zero, and the form in which a file stores it.
template <class Value>
struct Weight {
  int64_t rows, columns, m, digits = 1;
  std::vector<Value> dense, values;
  std::vector<uint8_t> codes;

  Weight(int64_t rows, int64_t columns, int64_t n, int64_t m, bool as_bitmask) : rows(rows), columns(columns), m(m) {
    dense.resize(static_cast<size_t>(rows * columns));
    std::vector<int64_t> positions;
    for (int64_t group = 0; group < rows * columns / m; ++group) {
      int64_t left = n;
      for (int64_t place = 0; place < m; ++place) {
        if (between(0, m - place - 1) >= left) continue;
        --left;
        dense[group * m + place] = any_value<Value>();
        positions.push_back(place);
        values.push_back(dense[group * m + place]);
      }
    }
    if (as_bitmask) {
      store_bits();
      return;
    }
    for (int64_t fit = m * m; fit <= 256 && positions.size() % static_cast<size_t>(digits + 1) == 0; fit *= m) ++digits;
    codes.resize(positions.size() / digits);
    for (size_t i = positions.size(); i-- > 0;) {
      codes[i / digits] = static_cast<uint8_t>(codes[i / digits] * m + positions[i]);
    }
  }

  Rows<Value> stored_rows() const {
    return rows_of<Value>({rows, columns, m, digits, values.data(), static_cast<int64_t>(values.size()), codes.data(),
                           static_cast<int64_t>(codes.size())});
  }

 private:
  void store_bits() {
    m = 0;
    values.assign(1, Value{0});
    codes.resize((dense.size() + 7) / 8);
    for (size_t i = 0; i < dense.size(); ++i) {
      if (dense[i] == Value{0}) continue;
      values.push_back(dense[i]);
      codes[i / 8] |= static_cast<uint8_t>(0x80 >> (i % 8));
    }
  }
};

int right = 0;

void expect(bool is_right, const char* set, const char* what) {
  if (!is_right) {
    std::printf("wrong: %s, %s\n", set, what);
    std::exit(1);
  }
  ++right;
}

bool close(float found, double wanted) { return std::fabs(found - wanted) <= 1e-5 * (1 + std::fabs(wanted)); }

std::pair<int64_t, int64_t> any_scheme() {
  const int64_t m = int64_t{1} << between(1, 6);
  return {between(1, m), m};
}

Activation any_activation() {
  const auto kind = static_cast<ActivationKind>(between(0, 4));
  return {kind, static_cast<float>(between(1, 8)) / 4, static_cast<float>(between(1, 8)) / 8, 0.25f};
}

double activated(double x, const Activation& how) {
  double y = x;
  switch (how.kind) {
    case ActivationKind::kNone:
      return x;
    case ActivationKind::kHardSwish:
      y = x * std::fmin(std::fmax(x / 6 + 0.5, 0), 1);
      break;
    case ActivationKind::kSwish:
      y = x / (1 + std::exp(-double{how.alpha} * x));
      break;
    case ActivationKind::kGelu:
      y = x * 0.5 * std::erfc(-x * std::sqrt(0.5));
      break;
    case ActivationKind::kGeluTanh:
      y = x * 0.5 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
      break;
  }
  return y * how.gain + how.shift;
}

void check_float_matrix(const Implementation& use) {
  const auto [n, m] = any_scheme();
  const Weight<float> weight(between(1, 70), m * between(1, 300 / m), n, m, between(0, 3) == 0);
  const int64_t count = between(1, 130);
  std::vector<float> x(count * weight.columns), bias(weight.rows), residual(count * weight.rows), y(residual.size());
  for (auto* values : {&x, &bias, &residual}) {
    for (float& each : *values) each = any_value<float>();
  }
  const Epilogue epilogue{{-4, 6}, any_activation()};
  const bool has_residual = between(0, 1);
  FloatProduct(*use.floats, weight.stored_rows(), bias, 1)
      .matrix(count, x.data(), has_residual ? residual.data() : nullptr, epilogue, y.data(), in_turn);
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t o = 0; o < weight.rows; ++o) {
      double sum = bias[o] + (has_residual ? residual[row * weight.rows + o] : 0);
      for (int64_t k = 0; k < weight.columns; ++k) {
        sum += double{weight.dense[o * weight.columns + k]} * x[row * weight.columns + k];
      }
      const double wanted = activated(std::fmin(std::fmax(sum, -4), 6), epilogue.activation);
      expect(close(y[row * weight.rows + o], wanted), use.name, "float matrix");
    }
  }
}

void check_float_image(const Implementation& use) {
  const auto [n, m] = any_scheme();
  const int64_t groups = between(1, 3), in_group = m * between(1, 1 + 64 / m), axes = between(1, 3);
  Convolution convolution;
  convolution.groups = groups;
  convolution.weight = {groups * between(1, 9), in_group};
  Shape space;
  for (int64_t axis = 0; axis < axes; ++axis) {
    convolution.weight.push_back(between(1, 3));
    convolution.strides.push_back(between(1, 3));
    convolution.dilations.push_back(between(1, 2));
    space.push_back(between(5, axes == 1 ? 300 : axes == 2 ? 20 : 9));
  }
  for (int64_t i = 0; i < 2 * axes; ++i) convolution.pads.push_back(between(0, 3));
  convolution.check();
  const Geometry g = convolution.geometry(space.data());
  const Weight<float> weight(convolution.outputs(), convolution.columns(), n, m, false);
  const Activation activation = any_activation();
  const int64_t images = between(1, 2), places = g.pixels_out(), pixels = g.pixels_in(), outputs = weight.rows;
  std::vector<float> x(images * groups * in_group * pixels), bias(outputs), y(images * outputs * places);
  for (float& each : x) each = any_value<float>();
  for (float& each : bias) each = any_value<float>();
  FloatProduct(*use.floats, weight.stored_rows(), bias, groups)
      .image(g, images, x.data(), nullptr, {{-INFINITY, INFINITY}, activation}, y.data(), in_turn);
  for (int64_t i = 0; i < images * outputs * places; ++i) {
    const int64_t place = i % places, o = i / places % outputs, image = i / places / outputs;
    const float* from = x.data() + (image * groups + o / (outputs / groups)) * in_group * pixels;
    double sum = bias[o];
    for (int64_t k = 0; k < weight.columns; ++k) {
      const int64_t tap = k / in_group;
      const int64_t a = g.reach(0, place / (g.output[1] * g.output[2]), tap / (g.kernel[1] * g.kernel[2]));
      const int64_t b = g.reach(1, place / g.output[2] % g.output[1], tap / g.kernel[2] % g.kernel[1]);
      const int64_t c = g.reach(2, place % g.output[2], tap % g.kernel[2]);
      if (a < 0 || b < 0 || c < 0 || a >= g.input[0] || b >= g.input[1] || c >= g.input[2]) continue;
      sum += double{weight.dense[o * weight.columns + k]} *
             from[k % in_group * pixels + (a * g.input[1] + b) * g.input[2] + c];
    }
    expect(close(y[i], activated(sum, activation)), use.name, "float image");
  }
}

void check_bytes(const Implementation& use) {
  const auto [n, m] = any_scheme();
  const Weight<int8_t> weight(between(1, 70), m * between(1, 300 / m), n, m, between(0, 3) == 0);
  const int64_t count = between(1, 40), inputs = weight.columns;
  std::vector<uint8_t> x(count * inputs);
  for (uint8_t& each : x) each = static_cast<uint8_t>(between(0, 3) ? between(0, 255) : 255);
  ByteProduct(*use.bytes, weight.stored_rows(), 1)
      .run(
          0, count, in_turn, [&](int64_t p, uint8_t* to) { std::copy_n(x.data() + p * inputs, inputs, to); },
          [&](int64_t p, int64_t first, int64_t end, const int32_t* sums) {
            for (int64_t o = first; o < end; ++o) {
              int32_t sum = 0;
              for (int64_t k = 0; k < inputs; ++k) sum += x[p * inputs + k] * weight.dense[o * inputs + k];
              expect(sums[o - first] == sum, use.name, "int8 sums");
            }
          });
}

// Scales and rounding: bit for bit as plain C++ does it.
void check_rounding(const Implementation& use) {
  const int64_t count = between(1, 200);
  const ByteKernel& plain = *implementations().front().bytes;
  std::vector<float> x(count), scales(count), offsets(count), y(count), wanted_y(count);
  std::vector<int32_t> sums(count);
  std::vector<uint8_t> bytes(count), wanted(count), residual(count);
  for (int64_t i = 0; i < count; ++i) {
    x[i] = static_cast<float>(between(-1000, 3000)) / 997;
    scales[i] = static_cast<float>(between(1, 1000)) / 65536;
    offsets[i] = static_cast<float>(between(-1000, 1000)) / 32;
    sums[i] = static_cast<int32_t>(between(-100000, 100000));
    residual[i] = static_cast<uint8_t>(between(0, 255));
  }
  const Quantized found = use.bytes->quantize(x.data(), count, bytes.data());
  const Quantized expected = plain.quantize(x.data(), count, wanted.data());
  expect(bytes == wanted && found.scale == expected.scale && found.zero_point == expected.zero_point, use.name, "rows");
  for (int64_t i = 0; i < count; ++i) {
    expect(std::fabs((bytes[i] - found.zero_point) * found.scale - x[i]) <= found.scale * 1.01f, use.name, "grid");
  }
  const ToBytes to_bytes{scales.data(), offsets.data(), between(0, 1) ? residual.data() : nullptr, 0.37f, 3, 250,
                         any_activation()};
  use.bytes->to_bytes(sums.data(), count, to_bytes, bytes.data());
  plain.to_bytes(sums.data(), count, to_bytes, wanted.data());
  expect(bytes == wanted, use.name, "bytes");
  const ToFloats to_floats{found, sums.data(), scales.data(), offsets.data(), nullptr,
                           {{-50, 50}, any_activation()}};
  use.bytes->to_floats(sums.data(), count, to_floats, y.data());
  plain.to_floats(sums.data(), count, to_floats, wanted_y.data());
  expect(y == wanted_y, use.name, "floats");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 60;
  for (const Implementation& use : implementations()) {
    const int before = right;
    for (int round = 0; round < rounds; ++round) {
      check_float_matrix(use);
      check_float_image(use);
      check_bytes(use);
      check_rounding(use);
    }
    std::printf("%s: %d values\n", use.name, right - before);
  }
  std::printf("%d passed, 0 failed\n", right);
}
