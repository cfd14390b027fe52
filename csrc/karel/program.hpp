// A batch of programs: either plain action sequences or bytecode (see karel_fast/karel/language/bytecode.py for the format).
#pragma once
#include <cstdint>

#include "vocabulary.hpp"

namespace karel {

// The codes below these are the actions themselves.
enum Op : std::uint8_t { jump = action_count, branch, set, loop, halt };

inline constexpr std::uint32_t negated = 8;  // added to a branch's condition

// One instruction is op | a << 8 | b << 32.
struct Instruction {
    std::uint8_t op;
    std::uint32_t a;
    std::int64_t b;
};

inline Instruction decode(std::int64_t word) {
    return {static_cast<std::uint8_t>(word & 0xFF), static_cast<std::uint32_t>((word >> 8) & 0xFFFFFF), word >> 32};
}

struct ProgramBatch {
    std::int64_t count;
    const std::uint8_t* actions;  // straight-line batches: all programs' actions, one byte each; else null
    const std::int64_t* code;     // other batches: all programs' instructions; else null
    std::int64_t size;            // length of actions or code
    const std::int64_t* starts;   // (count,) first action or instruction of each program
    const std::int32_t* lengths;  // (count,)
    std::int64_t slots;           // repeat counters that the bytecode uses

    bool straight_line() const { return actions != nullptr; }
};

// Throws std::invalid_argument naming the program at fault; afterwards the kernels may trust programs begin..end. Returns
// the length of the longest of them.
std::int64_t check_programs(const ProgramBatch& programs, std::int64_t begin, std::int64_t end);

}  // namespace karel
