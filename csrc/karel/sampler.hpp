// Draws samples: worlds, programs and, for straight-line recipes, what the programs make of the worlds. Equal bit for bit
// to karel_fast/data/sampling/reference.py, which says in which order each stream is spent.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "philox.hpp"
#include "threads.hpp"
#include "tokens.hpp"
#include "vocabulary.hpp"

namespace karel {

inline constexpr std::uint8_t symbol_pad = 255;
inline constexpr std::size_t statement_count = 4;  // that open a block

// The integers of karel_fast/data/sampling/plan.py.
struct Plan {
    int height;
    int width;
    int worlds;
    int shown;
    std::uint32_t wall_end;    // 0 .. 65535
    std::uint32_t marker_end;  // wall_end .. 65536
    std::uint32_t shortest;
    std::uint32_t longest;
    int symbol_width;
    std::array<std::uint32_t, action_count> action_weights;
    std::array<std::uint8_t, action_count> performed;
    bool avoid_noops;
    std::uint32_t split;
    std::uint64_t hash_first;
    std::uint64_t hash_last;
    std::uint64_t seed;
    bool has_control;  // and only then:
    std::array<std::uint32_t, statement_count> statement_weights;  // of if, ifelse, while, repeat
    std::array<std::uint32_t, condition_count> condition_weights;
    bool negate;
    std::uint32_t depth;
    std::uint32_t lowest_count;
    std::uint32_t highest_count;
    std::int64_t max_attempts;
};

// Throws std::invalid_argument for numbers that the sampler could not handle safely.
void check_plan(const Plan& plan);

struct WorldArrays {
    std::uint8_t* walls;    // (n * E, H, W)
    std::uint8_t* markers;  // (n * E, H, W)
    std::uint8_t* robot;    // (n * E, 3)
};

struct ProgramArrays {
    std::uint8_t* symbols;  // (n, W), padded with symbol_pad
    std::int32_t* lengths;  // (n,), -1 where no program was found
};

// All four return false if interrupted.

// Input worlds, programs and output worlds (which have the inputs' walls) of samples start .. start+count-1.
bool sample_straight(const Plan& plan, std::int64_t start, std::int64_t count, int threads, const ProgramArrays& programs,
                     const WorldArrays& inputs, std::uint8_t* out_markers, std::uint8_t* out_robot, Interrupt& interrupt);

// Only the input worlds.
bool sample_worlds(const Plan& plan, std::int64_t start, std::int64_t count, int threads, const WorldArrays& inputs,
                   Interrupt& interrupt);

// Programs with control flow for the samples `indices`, from the attempts given on; those used are written to `used`.
bool sample_programs(const Plan& plan, std::int64_t count, const std::int64_t* indices, const std::int64_t* attempts,
                     int threads, const ProgramArrays& programs, std::int64_t* used, Interrupt& interrupt);

// Token rows of straight-line samples, without keeping their worlds: only the shown ones are drawn. Token is uint8_t or
// uint16_t. lengths[i] is -1 where no program was found.
template <class Token>
bool sample_tokens(const Plan& plan, const TokenLayout& layout, std::int64_t start, std::int64_t count, int threads,
                   Token* rows, std::int32_t* lengths, Interrupt& interrupt);

}  // namespace karel
