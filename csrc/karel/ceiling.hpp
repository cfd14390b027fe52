// What three ideal readers know of the states that written programs pass through: the most that a probe can read of them.
//
// The first reads the specification and what was written so far, the second the specification and how much was written, the third
// what was written and no specification. docs/exact.md derives all three; karel_fast/exact/ideal_states_reference.py is the readable
// twin.
#pragma once
#include <cstdint>

#include "solver.hpp"

namespace karel {

// What F features say of every state of every world. The heads of a state's label are digits of one code, the first the lowest.
struct StateCodes {
    int features;
    int levels;                   // of the markers under the robot: the last stands for more; 1 if no feature looks at them
    const std::int32_t* heads;    // (F,)
    const std::int32_t* classes;  // (F,) of each head
    const std::int16_t* codes;    // (worlds, F, H * W * 4, levels); a pose is cell * 4 + direction
};

// One written program per specification, and the labels of its states under M meanings at J offsets: at offset j that of action
// k is state k + 1 + j.
struct Question {
    std::int64_t count;
    int examples;                   // E: worlds of each program that labels are of
    int width;                      // K
    const std::uint8_t* actions;    // (n, K)
    const std::int32_t* lengths;    // (n,)
    int meanings;
    const std::uint8_t* performed;  // (M, actions)
    int offsets;
    const std::int32_t* offset;     // (J,)
    int rest;                       // fewest actions left at a state with a label
    double doubt;                   // chance that a program was drawn without regard to its specification
    const std::int16_t* labels;     // (n, K, M, J, F, E), codes; -1: none
};

// Sums over the E worlds, each (n, K, M, J, F): chances to be right, and bits of the labels. Infinite where a label has no chance.
struct Answers {
    double* right;
    double* loss;
};

// `examples` and `shown` of the specifications are the question's. Throw std::invalid_argument for what cannot be solved, and return
// false if interrupted.
bool read_specifications(const Specifications& specifications, const Prior& prior, const StateCodes& states,
                         const Question& question, std::int64_t max_states, int threads, const Answers& with_prefix,
                         const Answers& without_prefix, Interrupt& interrupt);

// `pool` stands for the worlds that the reader expects; no program of the question need belong to any of them.
bool read_prefixes(const Specifications& pool, const Prior& prior, const StateCodes& states, const Question& question,
                   std::int64_t max_states, int threads, const Answers& answers, Interrupt& interrupt);

}  // namespace karel
