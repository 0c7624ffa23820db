// A weight as the file stores it, and as rows of what isn't zero.
//
// A file keeps a weight as values and positions (docs/format.md), which no processor reads in that order. `rows_of`
// checks every length and position, so that whatever is built from the rows stays within its buffers.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace domino {

// What is wrong with a file or with an input, in words for its user.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// `rows` outputs of `columns` inputs each. Positions: groups of `m` columns, each with the same number of values, and
// `digits` positions of base m in a byte. Bitmask (m = 0): a zero and the values, and a bit for each place.
template <class Value>
struct Stored {
  int64_t rows, columns;
  int64_t m, digits;
  const Value* values;
  int64_t value_count;
  const uint8_t* codes;
  int64_t code_count;
};

// Row r holds columns[begin[r]] to columns[begin[r + 1] - 1], ascending, and the values in the same order.
template <class Value>
struct Rows {
  int64_t columns_in_all = 0;
  std::vector<uint32_t> begin;
  std::vector<uint32_t> columns;
  std::vector<Value> values;

  int64_t count() const { return static_cast<int64_t>(begin.size()) - 1; }
};

template <class Value>
Rows<Value> rows_of(const Stored<Value>& stored);

}  // namespace domino
