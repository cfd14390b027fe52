// Programs as rows of bytes, one symbol per action, keyword, condition, brace or repeat count: actions keep their codes, the
// rest follows. karel_fast/data/sampling/symbols.py has the grammar.
#pragma once
#include <cstdint>

#include "vocabulary.hpp"

namespace karel {

inline constexpr std::uint8_t symbol_if = action_count, symbol_ifelse = symbol_if + 1, symbol_while = symbol_if + 2,
                              symbol_repeat = symbol_if + 3, symbol_else = symbol_if + 4, symbol_not = symbol_if + 5,
                              symbol_condition = symbol_if + 6,  // + Condition
                              symbol_open = symbol_condition + condition_count, symbol_close = symbol_open + 1,
                              symbol_count = symbol_open + 2;  // + repeat count

}  // namespace karel
