// Everything that an ideal reader of a specification knows: which programs turn its inputs into its outputs, as they are shown.
//
// Programs are merged as soon as they have done the same to all worlds: a node is (number of actions, state of every world).
// Nodes from which the outputs cannot be reached in the actions left are not made; karel_fast/exact/reference.py is the
// readable twin, without that.
#pragma once
#include <cstdint>

#include "solver_graph.hpp"
#include "threads.hpp"

namespace karel {

// n specifications of E examples each, example-minor, all worlds of one size; the first `shown` of each are what the reader sees.
struct Specifications {
    std::int64_t count;
    int examples;
    int shown;
    int height;
    int width;
    const std::uint8_t* walls;        // (n * E, H, W), and so on
    const std::uint8_t* markers;
    const std::uint8_t* robot;
    const std::uint8_t* out_walls;
    const std::uint8_t* out_markers;
    const std::uint8_t* out_robot;
};

// What is asked of every specification. Arrays of actions are (n, longest), padded with 255.
struct SolveOutput {
    std::int64_t* counts;           // (n,)
    double* mass;                   // (n,)
    double* entropy;                // (n,)
    std::int32_t* shortest;         // (n,), -1 if no program satisfies
    std::int64_t* shortest_counts;  // (n,)
    std::uint8_t* shortest_actions;
    std::int32_t* mode_lengths;     // (n,), -1
    double* mode_mass;              // (n,): prior probability of the most probable program
    std::uint8_t* mode_actions;
    double* generalises;            // (n,): chance of a draw from the posterior; NaN without programs
    std::uint8_t* mode_generalises; // (n,)
    double* reach;                  // (n, longest + 1): posterior chance of at least so many actions
    double* token_entropy;          // (n, longest + 1): that times the mean entropy in nats of what comes next
    std::int64_t* nodes;            // (n,): made for the shown examples
};

// All throw std::invalid_argument for input that cannot be solved, naming the specification, and return false if interrupted.

bool solve(const Specifications& specifications, const Prior& prior, std::int64_t max_states, int threads, const SolveOutput& out,
           Interrupt& interrupt);

// Specification i's nodes that lie on programs satisfying its shown examples; none if there is no such program.
bool solve_graph(const Specifications& specifications, const Prior& prior, std::int64_t max_states, std::int64_t i, Graph& graph,
                 Interrupt& interrupt);

// The posterior over the next action (in code order) and the end, after every prefix of one program per specification: rows
// 0..lengths[i] of posteriors (n, width + 1, 6); on_track[i] is the longest prefix that some satisfying program has, -1 if none.
bool solve_along(const Specifications& specifications, const Prior& prior, std::int64_t max_states, int width,
                 const std::uint8_t* actions, const std::int32_t* lengths, int threads, double* posteriors, std::int32_t* on_track,
                 Interrupt& interrupt);

}  // namespace karel
