// Weights and activations at random, and how a finding ends the program.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "implementations.h"
#include "weights.h"

namespace domino {

inline std::mt19937 random_bits(7);

inline int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

template <class Value>
Value any_value();
template <>
inline float any_value<float>() {
  return static_cast<float>(between(-8, 8)) / 4;
}
template <>
inline int8_t any_value<int8_t>() {
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

inline int right = 0;

inline void expect(bool is_right, const char* set, const char* what) {
  if (!is_right) {
    std::printf("wrong: %s, %s\n", set, what);
    std::exit(1);
  }
  ++right;
}

inline bool close(float found, double wanted) { return std::fabs(found - wanted) <= 1e-5 * (1 + std::fabs(wanted)); }

inline std::pair<int64_t, int64_t> any_scheme() {
  const int64_t m = int64_t{1} << between(1, 6);
  return {between(1, m), m};
}

inline Activation any_activation() {
  const auto kind = static_cast<ActivationKind>(between(0, 4));
  return {kind, static_cast<float>(between(1, 8)) / 4, static_cast<float>(between(1, 8)) / 8, 0.25f};
}

inline double activated(double x, const Activation& how) {
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

// How sums of `rows` rows become bytes, in numbers at random, and what they become.
struct Scaled {
  int64_t outputs;
  std::vector<float> scales, offsets;
  std::vector<uint8_t> residual;
  bool has_residual;
  Activation activation = any_activation();
  float low = static_cast<float>(between(0, 9)), high = static_cast<float>(between(200, 255));

  Scaled(int64_t outputs, int64_t rows, bool has_residual)
      : outputs(outputs), residual(static_cast<size_t>(outputs * rows)), has_residual(has_residual) {
    for (int64_t o = 0; o < outputs; ++o) {
      scales.push_back(static_cast<float>(between(1, 1000)) / 65536);
      offsets.push_back(static_cast<float>(between(-1000, 4000)) / 32);
    }
    for (uint8_t& each : residual) each = static_cast<uint8_t>(between(0, 255));
  }

  ToBytes to_bytes() const {
    return {scales.data(), offsets.data(), has_residual ? residual.data() : nullptr, 0.37f, low, high, activation};
  }

  // Without an activation exactly; with one, a value just between two bytes may become either.
  bool agrees(uint8_t byte, int32_t sum, int64_t row, int64_t output) const {
    volatile float scaled = static_cast<float>(sum) * scales[output];  // rounded to float32, and not joined with the sum
    volatile float value = scaled + offsets[output];
    if (has_residual) {
      volatile float more = static_cast<float>(residual[row * outputs + output]) * 0.37f;
      value = value + more;
    }
    const double wanted = activated(value, activation);
    const double whole = std::nearbyint(std::fmin(std::fmax(wanted, low), high));
    return byte == whole || (activation && std::fabs(byte - wanted) < 0.501);
  }
};

// Convolutions and pools, in images.cpp.
void check_images(const Implementation&);

}  // namespace domino
