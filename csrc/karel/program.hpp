// A batch of programs: either plain action sequences or bytecode (see karel_fast/karel/language/bytecode.py for the format).
#pragma once
#include <cstdint>

namespace karel {

inline constexpr std::uint8_t action_count = 5;
enum Action : std::uint8_t { move = 0, turn_left = 1, turn_right = 2, pick_marker = 3, put_marker = 4 };

enum Condition : std::uint8_t {
    front_is_clear = 0,
    left_is_clear = 1,
    right_is_clear = 2,
    markers_present = 3,
    no_markers_present = 4,
};
inline constexpr std::uint8_t condition_count = 5;
inline constexpr std::uint32_t negated = 8;

enum Op : std::uint8_t { jump = 5, branch = 6, set = 7, loop = 8, halt = 9 };

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
