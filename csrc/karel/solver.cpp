#include "solver.hpp"

#include <algorithm>
#include <limits>

#include "solver_search.hpp"

namespace karel {
namespace {

constexpr std::uint8_t padding = 255;

}  // namespace

bool solve(const Specifications& specifications, const Prior& prior, std::int64_t max_states, int threads, const SolveOutput& out,
           Interrupt& interrupt) {
    const auto work = [&](Solver& solver, Graph& graph, std::int64_t i) {
        std::uint8_t* const shortest = out.shortest_actions + i * prior.longest;
        std::uint8_t* const mode = out.mode_actions + i * prior.longest;
        std::fill_n(shortest, prior.longest, padding);
        std::fill_n(mode, prior.longest, padding);
        double* const reach = out.reach + i * (prior.longest + 1);
        double* const token_entropy = out.token_entropy + i * (prior.longest + 1);
        solver.build(specifications.shown, graph);
        out.nodes[i] = graph.size();
        if (!has_programs(graph)) {
            std::fill_n(reach, prior.longest + 1, std::numeric_limits<double>::quiet_NaN());
            std::fill_n(token_entropy, prior.longest + 1, std::numeric_limits<double>::quiet_NaN());
            out.counts[i] = out.shortest_counts[i] = 0;
            out.mass[i] = out.mode_mass[i] = 0.0;
            out.entropy[i] = out.generalises[i] = std::numeric_limits<double>::quiet_NaN();
            out.shortest[i] = out.mode_lengths[i] = -1;
            out.mode_generalises[i] = 0;
            return;
        }
        out.counts[i] = graph.counts[0];
        out.mass[i] = graph.mass[0];
        out.entropy[i] = graph.entropy[0];
        out.shortest[i] = graph.shortest[0];
        out.shortest_counts[i] = graph.shortest_counts[0];
        write_shortest(graph, shortest);
        measure_positions(graph, prior, reach, token_entropy);
        out.mode_mass[i] = graph.best[0];
        out.mode_lengths[i] = write_mode(graph, prior, mode);
        out.mode_generalises[i] = solver.generalises(mode, out.mode_lengths[i]);
        out.generalises[i] = 1.0;
        if (specifications.examples > specifications.shown) {
            solver.build(specifications.examples, graph);
            out.generalises[i] = has_programs(graph) ? std::min(1.0, graph.mass[0] / out.mass[i]) : 0.0;
        }
    };
    return for_each(specifications, prior, max_states, threads, interrupt, 0, specifications.count, work);
}

bool solve_graph(const Specifications& specifications, const Prior& prior, std::int64_t max_states, std::int64_t i, Graph& graph,
                 Interrupt& interrupt) {
    return for_each(specifications, prior, max_states, 1, interrupt, i, 1, [&](Solver& solver, Graph&, std::int64_t) {
        solver.build(specifications.shown, graph);
        graph.keep_live();
    });
}

bool solve_along(const Specifications& specifications, const Prior& prior, std::int64_t max_states, int width,
                 const std::uint8_t* actions, const std::int32_t* lengths, int threads, double* posteriors, std::int32_t* on_track,
                 Interrupt& interrupt) {
    const std::int64_t numbers = (std::int64_t{width} + 1) * choices;  // of a program
    const auto work = [&](Solver& solver, Graph& graph, std::int64_t i) {
        solver.build(specifications.shown, graph);
        const std::uint8_t* const program = actions + i * width;
        double* const rows = posteriors + i * numbers;
        std::int32_t node = has_programs(graph) ? 0 : -1;
        on_track[i] = -1;
        for (std::int32_t t = 0; t <= lengths[i]; ++t) {
            double* const row = rows + t * choices;
            if (node >= 0) {
                on_track[i] = t;
                posterior_row(graph, prior, static_cast<std::size_t>(node), row);
            } else {
                solver.prior_row(program, t, row);
            }
            if (node < 0 || t == lengths[i]) continue;
            node = graph.children[static_cast<std::size_t>(node)][program[t]];
            if (node >= 0 && !graph.counts[static_cast<std::size_t>(node)]) node = -1;
        }
        std::fill(rows + (std::int64_t{lengths[i]} + 1) * choices, rows + numbers, std::numeric_limits<double>::quiet_NaN());
    };
    return for_each(specifications, prior, max_states, threads, interrupt, 0, specifications.count, work);
}

}  // namespace karel
