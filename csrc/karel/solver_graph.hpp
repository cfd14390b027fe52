// One specification's programs as a graph, and what is read off it once it is summed up.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "program.hpp"

namespace karel {

inline constexpr int choices = action_count + 1;  // the actions and the end

// Which programs there are, and how probable: a length uniform over shortest..longest, then that many actions by weight.
struct Prior {
    int shortest;
    int longest;
    std::array<std::uint32_t, action_count> weights;
    std::array<std::uint8_t, action_count> performed;  // the semantics
    bool avoid_noops;  // actions that would change no shown world weigh nothing, unless all would
};

// How many lengths a program may have, each with the same chance.
inline int lengths_of(const Prior& prior) { return prior.longest - prior.shortest + 1; }

std::uint32_t total_weight(const Prior& prior);

// The weights that the next action is drawn with where the performed actions `changes` change some shown world. Returns their sum.
std::uint32_t drawn_with(const Prior& prior, const std::array<bool, action_count>& changes,
                         std::array<std::uint32_t, action_count>& weights);

// The nodes of one specification, in order of their number of actions. Node 0 is the empty program's.
struct Graph {
    std::vector<std::int64_t> starts;                              // (longest + 2,): first node of each number of actions
    std::vector<std::array<std::int32_t, action_count>> children;  // by written action; -1 where no program goes on
    std::vector<std::uint32_t> totals;                             // sum of the weights that actions are drawn with
    std::vector<std::uint8_t> satisfied;                           // a program may end here

    // Of the ways to go on from a node until a program ends.
    std::vector<std::int64_t> counts;
    std::vector<double> mass;     // prior probability, that of the actions so far left out
    std::vector<double> entropy;  // nats, under the posterior
    std::vector<double> best;     // prior probability of the most probable way
    std::vector<std::int32_t> shortest;  // actions; -1 if no way
    std::vector<std::int64_t> shortest_counts;

    std::int64_t size() const { return static_cast<std::int64_t>(children.size()); }
    // Forgets nodes without a way to go on, in place.
    void keep_live();
};

inline bool has_programs(const Graph& graph) { return graph.size() > 0 && graph.counts[0] > 0; }

// The functions below take graphs that have programs; `actions` has room for the longest.

// The first, in order of action codes, of the shortest programs.
void write_shortest(const Graph& graph, std::uint8_t* actions);

// A most probable program: where several are, the one that ends first, then the first in order of action codes. Returns its length.
std::int32_t write_mode(const Graph& graph, const Prior& prior, std::uint8_t* actions);

// The posterior over the next action and the end, at a node with a way to go on.
void posterior_row(const Graph& graph, const Prior& prior, std::size_t node, double* row);

// By number of actions, the chance of a program drawn from the posterior to have that many or more, and that times the mean
// entropy of what comes next.
void measure_positions(const Graph& graph, const Prior& prior, double* reach, double* token_entropy);

}  // namespace karel
