#include "solver_graph.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace karel {
namespace {

// Probabilities that are products of the same numbers in another order differ in their last bits.
bool as_probable(double a, double best) { return a >= best * (1.0 - 1e-12); }

}  // namespace

std::uint32_t total_weight(const Prior& prior) {
    std::uint32_t total = 0;
    for (const std::uint32_t weight : prior.weights) total += weight;
    return total;
}

std::uint32_t drawn_with(const Prior& prior, const std::array<bool, action_count>& changes,
                         std::array<std::uint32_t, action_count>& weights) {
    weights = prior.weights;
    std::uint32_t useful = 0;
    for (int a = 0; a < action_count; ++a) useful += changes[prior.performed[a]] ? prior.weights[a] : 0;
    if (!useful) return total_weight(prior);
    for (int a = 0; a < action_count; ++a) {
        if (!changes[prior.performed[a]]) weights[a] = 0;
    }
    return useful;
}

void write_shortest(const Graph& graph, std::uint8_t* actions) {
    std::size_t node = 0;
    while (graph.shortest[node] > 0) {
        for (std::uint8_t a = 0; a < action_count; ++a) {
            const std::int32_t child = graph.children[node][a];
            if (child < 0 || graph.shortest[static_cast<std::size_t>(child)] != graph.shortest[node] - 1) continue;
            *actions++ = a;
            node = static_cast<std::size_t>(child);
            break;
        }
    }
}

std::int32_t write_mode(const Graph& graph, const Prior& prior, std::uint8_t* actions) {
    const double ending = 1.0 / lengths_of(prior);
    std::size_t node = 0;
    for (std::int32_t length = 0;; ++length) {
        if (graph.satisfied[node] && as_probable(ending, graph.best[node])) return length;
        for (std::uint8_t a = 0; a < action_count; ++a) {
            const std::int32_t child = graph.children[node][a];
            if (child < 0) continue;
            const double chance = static_cast<double>(prior.weights[a]) / graph.totals[node];
            if (!as_probable(chance * graph.best[static_cast<std::size_t>(child)], graph.best[node])) continue;
            *actions++ = a;
            node = static_cast<std::size_t>(child);
            break;
        }
    }
}

void posterior_row(const Graph& graph, const Prior& prior, std::size_t node, double* row) {
    for (std::size_t a = 0; a < action_count; ++a) {
        const std::int32_t child = graph.children[node][a];
        const double chance = static_cast<double>(prior.weights[a]) / graph.totals[node];
        row[a] = child < 0 ? 0.0 : chance * graph.mass[static_cast<std::size_t>(child)] / graph.mass[node];
    }
    row[action_count] = graph.satisfied[node] ? 1.0 / lengths_of(prior) / graph.mass[node] : 0.0;
}

void measure_positions(const Graph& graph, const Prior& prior, double* reach, double* token_entropy) {
    std::vector<double> visits(static_cast<std::size_t>(graph.size()), 0.0);
    visits[0] = 1.0;
    std::fill_n(reach, prior.longest + 1, 0.0);
    std::fill_n(token_entropy, prior.longest + 1, 0.0);
    for (int t = 0; t <= prior.longest; ++t) {
        for (std::int64_t k = graph.starts[static_cast<std::size_t>(t)]; k < graph.starts[static_cast<std::size_t>(t) + 1]; ++k) {
            const auto node = static_cast<std::size_t>(k);
            if (visits[node] == 0.0) continue;
            double row[choices];
            posterior_row(graph, prior, node, row);
            reach[t] += visits[node];
            for (std::size_t a = 0; a < choices; ++a) {
                if (row[a] <= 0.0) continue;
                token_entropy[t] -= visits[node] * row[a] * std::log(row[a]);
                if (a < action_count) visits[static_cast<std::size_t>(graph.children[node][a])] += visits[node] * row[a];
            }
        }
    }
}

void Graph::keep_live() {
    std::vector<std::int32_t> renamed(children.size(), -1);
    std::vector<std::int64_t> kept_starts{0};
    std::int32_t kept = 0;
    for (std::size_t t = 0; t + 1 < starts.size(); ++t) {
        for (std::int64_t k = starts[t]; k < starts[t + 1]; ++k) {
            if (counts[static_cast<std::size_t>(k)]) renamed[static_cast<std::size_t>(k)] = kept++;
        }
        kept_starts.push_back(kept);
    }
    const auto pack = [&](auto& values) {
        for (std::size_t k = 0; k < renamed.size(); ++k) {
            if (renamed[k] >= 0) values[static_cast<std::size_t>(renamed[k])] = values[k];
        }
        values.resize(static_cast<std::size_t>(kept));
    };
    pack(children);
    pack(totals);
    pack(satisfied);
    pack(counts);
    pack(mass);
    pack(entropy);
    pack(best);
    pack(shortest);
    pack(shortest_counts);
    for (auto& row : children) {
        for (std::int32_t& child : row) child = child < 0 ? -1 : renamed[static_cast<std::size_t>(child)];
    }
    starts = std::move(kept_starts);
}

}  // namespace karel
