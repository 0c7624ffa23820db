#include "weights.h"

namespace domino {
namespace {

constexpr int64_t kMostWeights = int64_t{1} << 31;
constexpr int64_t kMostColumns = int64_t{1} << 16;  // 65,536 x 255 x 127 fits in an int32 sum

template <class Value>
void append(Rows<Value>& rows, int64_t column, Value value) {
  if (value == Value{0}) return;  // filled up places of a group, which no product needs
  rows.columns.push_back(static_cast<uint32_t>(column));
  rows.values.push_back(value);
}

template <class Value>
void from_positions(const Stored<Value>& stored, Rows<Value>& rows) {
  const int64_t m = stored.m, digits = stored.digits;
  if (m < 2 || m > 256 || stored.columns % m) throw Refused("the columns are no groups of m");
  int64_t codes_in_byte = 1;
  if (digits < 1 || digits > 8) throw Refused("digits is not 1 to 8");
  for (int64_t digit = 0; digit < digits; ++digit) codes_in_byte *= m;
  if (codes_in_byte > 256) throw Refused("digits positions of base m don't fit in a byte");
  const int64_t groups_in_row = stored.columns / m, groups = stored.rows * groups_in_row;
  if (groups == 0 || stored.value_count % groups) throw Refused("the values are not as many for each group");
  const int64_t kept = stored.value_count / groups;
  if (kept < 1 || kept > m) throw Refused("a group keeps 1 to m values");
  if (stored.value_count % digits || stored.code_count != stored.value_count / digits) {
    throw Refused("the codes are not as many as the values");
  }
  int64_t at = 0;
  for (int64_t row = 0; row < stored.rows; ++row) {
    for (int64_t group = 0; group < groups_in_row; ++group) {
      int64_t last = -1;
      for (int64_t i = 0; i < kept; ++i, ++at) {
        int64_t code = stored.codes[at / digits];
        if (code >= codes_in_byte) throw Refused("a code has a position outside its group");
        for (int64_t digit = at % digits; digit > 0; --digit) code /= m;
        const int64_t position = code % m;
        if (position <= last) throw Refused("the positions of a group don't ascend");
        last = position;
        append(rows, group * m + position, stored.values[at]);
      }
    }
    rows.begin.push_back(static_cast<uint32_t>(rows.columns.size()));
  }
}

template <class Value>
void from_bitmask(const Stored<Value>& stored, Rows<Value>& rows) {
  const int64_t size = stored.rows * stored.columns;
  if (stored.code_count != (size + 7) / 8) throw Refused("the bitmask has not a bit for each weight");
  if (stored.value_count < 1 || stored.values[0] != Value{0}) throw Refused("the values don't begin with a zero");
  int64_t at = 1;
  for (int64_t row = 0, place = 0; row < stored.rows; ++row) {
    for (int64_t column = 0; column < stored.columns; ++column, ++place) {
      if (!(stored.codes[place / 8] >> (7 - place % 8) & 1)) continue;
      if (at == stored.value_count) throw Refused("the bitmask has more bits than there are values");
      append(rows, column, stored.values[at++]);
    }
    rows.begin.push_back(static_cast<uint32_t>(rows.columns.size()));
  }
  if (at != stored.value_count) throw Refused("the bitmask has fewer bits than there are values");
}

}  // namespace

template <class Value>
Rows<Value> rows_of(const Stored<Value>& stored) {
  if (stored.rows < 1 || stored.columns < 1) throw Refused("the weight is empty");
  if (stored.columns > kMostColumns) throw Refused("an output has more than 65,536 inputs");
  if (stored.rows > kMostWeights / stored.columns) throw Refused("the weight has more than 2^31 values");
  Rows<Value> rows;
  rows.columns_in_all = stored.columns;
  rows.begin.push_back(0);
  stored.m == 0 ? from_bitmask(stored, rows) : from_positions(stored, rows);
  return rows;
}

template Rows<float> rows_of(const Stored<float>&);
template Rows<int8_t> rows_of(const Stored<int8_t>&);

}  // namespace domino
