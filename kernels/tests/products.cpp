// Every instruction set of this processor against sums that are added up one by one, over random shapes and schemes.
//
// Needs neither ONNX Runtime nor Python. The last line says how many products were right.
#include <limits>

#include "byte_product.h"
#include "drawn.h"
#include "float_product.h"

using namespace domino;

namespace {

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

// Grid rows to floats: near what the sums say, and bit for bit as plain C++ does it.
void check_floats(const Implementation& use, const Weight<int8_t>& weight, const std::vector<uint8_t>& x,
                  const std::vector<int32_t>& sums) {
  const int64_t count = static_cast<int64_t>(sums.size()) / weight.rows;
  std::vector<Grid> rows;
  std::vector<float> scales, biases, residual, y(sums.size()), wanted(sums.size());
  for (int64_t row = 0; row < count; ++row) {
    rows.push_back({static_cast<float>(between(1, 99)) / 1024, static_cast<int32_t>(between(0, 255))});
  }
  for (int64_t o = 0; o < weight.rows; ++o) {
    scales.push_back(static_cast<float>(between(1, 99)) / 512);
    biases.push_back(any_value<float>());
  }
  for (size_t i = 0; i < sums.size(); ++i) residual.push_back(any_value<float>());
  const bool has_residual = between(0, 1);
  const Epilogue epilogue{{-40, 60}, any_activation()};
  const auto inputs_of = [&](Span some, uint8_t*) {
    return ByteProduct::Inputs{x.data() + some.first * weight.columns, weight.columns};
  };
  const auto floats_of = [&](const ByteKernel& kernel, float* to) {
    const ByteProduct product(kernel, weight.stored_rows(), 1);
    product.floats(0, count, in_turn, inputs_of,
                   {rows.data(), product.weight_sums().data(), scales.data(), biases.data(),
                    has_residual ? residual.data() : nullptr, epilogue},
                   weight.rows, to);
  };
  floats_of(*use.bytes, y.data());
  floats_of(*implementations().front().bytes, wanted.data());
  expect(y == wanted, use.name, "float bits");
  for (int64_t i = 0; i < count * weight.rows; ++i) {
    const int64_t row = i / weight.rows, o = i % weight.rows;
    int32_t sum = sums[i];
    for (int64_t k = 0; k < weight.columns; ++k) sum -= rows[row].zero_point * weight.dense[o * weight.columns + k];
    const double value = double{sum} * rows[row].scale * scales[o] + biases[o] + (has_residual ? residual[i] : 0);
    expect(close(y[i], activated(std::fmin(std::fmax(value, -40), 60), epilogue.activation)), use.name, "floats");
  }
}

void check_bytes(const Implementation& use) {
  const auto [n, m] = any_scheme();
  const Weight<int8_t> weight(between(1, 70), m * between(1, 300 / m), n, m, between(0, 3) == 0);
  const int64_t count = between(1, 40), inputs = weight.columns;
  std::vector<uint8_t> x(count * inputs + 64);  // of the last row a whole window is read
  for (uint8_t& each : x) each = static_cast<uint8_t>(between(0, 3) ? between(0, 255) : 255);
  const ByteProduct product(*use.bytes, weight.stored_rows(), 1);
  const auto inputs_of = [&](Span rows, uint8_t* space) {
    for (int64_t p = rows.first; p < rows.end; ++p) {
      std::copy_n(x.data() + p * inputs, inputs, space + (p - rows.first) * product.pitch());
    }
    return ByteProduct::Inputs{space, product.pitch()};
  };
  std::vector<int32_t> sums(count * weight.rows);
  for (int64_t i = 0; i < count * weight.rows; ++i) {
    for (int64_t k = 0; k < inputs; ++k) {
      sums[i] += x[i / weight.rows * inputs + k] * weight.dense[i % weight.rows * inputs + k];
    }
  }
  const std::vector<Grid> same(count, {1.0f, 0});
  const std::vector<float> ones(weight.rows, 1.0f), zeros(weight.rows, 0.0f);
  constexpr float kAll = 1e30f;
  std::vector<float> exact(sums.size());  // below 2^24
  product.floats(0, count, in_turn, inputs_of,
                 {same.data(), product.weight_sums().data(), ones.data(), zeros.data(), nullptr, {{-kAll, kAll}}},
                 weight.rows, exact.data());
  for (int64_t i = 0; i < count * weight.rows; ++i) expect(exact[i] == sums[i], use.name, "int8 sums");
  check_floats(use, weight, x, sums);
  const Scaled how(weight.rows, count, between(0, 1));
  std::vector<uint8_t> y(sums.size());
  product.bytes(0, count, in_turn, inputs_of, how.to_bytes(), weight.rows, y.data());
  for (int64_t i = 0; i < count * weight.rows; ++i) {
    expect(how.agrees(y[i], sums[i], i / weight.rows, i % weight.rows), use.name, "int8 products");
  }
  std::vector<uint8_t> wanted(y.size());
  const ByteProduct plain(*implementations().front().bytes, weight.stored_rows(), 1);
  plain.bytes(0, count, in_turn, [&](Span rows, uint8_t*) { return ByteProduct::Inputs{x.data() + rows.first * inputs, inputs}; },
              how.to_bytes(), weight.rows, wanted.data());
  expect(y == wanted, use.name, "int8 bits");
}

// Scales and rounding: bit for bit as plain C++ does it.
void check_rounding(const Implementation& use) {
  const int64_t count = between(1, 200);
  const ByteKernel& plain = *implementations().front().bytes;
  std::vector<float> x(count), scales(count), offsets(count);
  std::vector<int32_t> sums(count);
  std::vector<uint8_t> bytes(count), wanted(count), residual(count);
  for (int64_t i = 0; i < count; ++i) {
    x[i] = static_cast<float>(between(-1000, 3000)) / 997;
    scales[i] = static_cast<float>(between(1, 1000)) / 65536;
    offsets[i] = static_cast<float>(between(-1000, 1000)) / 32;
    sums[i] = static_cast<int32_t>(between(-100000, 100000));
    residual[i] = static_cast<uint8_t>(between(0, 255));
  }
  const Grid found = use.bytes->quantize(x.data(), count, bytes.data());
  const Grid expected = plain.quantize(x.data(), count, wanted.data());
  expect(bytes == wanted && found.scale == expected.scale && found.zero_point == expected.zero_point, use.name, "rows");
  for (int64_t i = 0; i < count; ++i) {
    expect(std::fabs((bytes[i] - found.zero_point) * found.scale - x[i]) <= found.scale * 1.01f, use.name, "grid");
  }
  const ToBytes to_bytes{scales.data(), offsets.data(), between(0, 1) ? residual.data() : nullptr, 0.37f, 3, 250};
  use.bytes->sums_to_bytes(sums.data(), count, to_bytes, bytes.data());
  plain.sums_to_bytes(sums.data(), count, to_bytes, wanted.data());
  expect(bytes == wanted, use.name, "bytes");
}

// A row with a value that is no number has no scale, wherever it is.
void check_no_number(const Implementation& use) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const int64_t count = between(1, 200);
  std::vector<float> x(count);
  for (float& each : x) each = any_value<float>();
  const float none[] = {std::nanf(""), -std::nanf(""), kInfinity, -kInfinity};
  x[between(0, count - 1)] = none[between(0, 3)];
  std::vector<uint8_t> bytes(count);
  const Grid found = use.bytes->quantize(x.data(), count, bytes.data());
  expect(std::isnan(0 * found.scale), use.name, "no number");
  for (const uint8_t byte : bytes) expect(byte == found.zero_point, use.name, "bytes of no number");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 60;
  for (const Implementation& use : implementations()) {
    const int before = right;
    for (int round = 0; round < rounds; ++round) {
      check_float_matrix(use);
      check_bytes(use);
      check_images(use);
      check_rounding(use);
      check_no_number(use);
    }
    std::printf("%s: %d values\n", use.name, right - before);
  }
  std::printf("%d passed, 0 failed\n", right);
}
