#include <pybind11/stl.h>

#include <limits>

#include "../karel/solver.hpp"
#include "../karel/world.hpp"
#include "arrays.hpp"
#include "interrupt.hpp"
#include "register.hpp"

namespace karel::bindings {
namespace {

using py::array;

// From karel_fast.exact.problem.Prior, by its field names.
Prior make_prior(const py::handle& source) {
    const auto get = [&](const char* name) { return source.attr(name); };
    const Prior prior{get("shortest").cast<int>(), get("longest").cast<int>(),
                      get("action_weights").cast<std::array<std::uint32_t, action_count>>(),
                      get("performed").cast<std::array<std::uint8_t, action_count>>(), get("avoid_noops").cast<bool>()};
    std::uint64_t total = 0;
    bool fits = 0 <= prior.shortest && prior.shortest <= prior.longest && prior.longest <= 10'000;
    for (int a = 0; a < action_count; ++a) {
        total += prior.weights[a];
        fits = fits && prior.performed[a] < action_count;
    }
    if (!fits || total == 0 || total > 0xFFFFFFFF) throw py::value_error("the prior's lengths, weights or semantics are out of range");
    return prior;
}

// From karel_fast.exact.problem.Problem, by its field names. The arrays stay alive with the source.
Specifications make_specifications(const py::handle& source) {
    const auto walls = source.attr("inputs").attr("walls").cast<array>();
    if (walls.ndim() != 3) throw py::value_error("walls must have 3 dimensions");
    const auto n = walls.shape(0), height = walls.shape(1), width = walls.shape(2);
    const auto worlds = [&](const char* side) {
        const auto from = source.attr(side);
        const auto cells = [&](const char* name) { return from.attr(name).cast<array>(); };
        const WorldBatch batch{n, static_cast<int>(height), static_cast<int>(width),
                               reinterpret_cast<const std::uint8_t*>(checked<bool>(cells("walls"), "walls", {n, height, width})),
                               checked<std::uint8_t>(cells("markers"), "markers", {n, height, width}),
                               checked<std::uint8_t>(cells("robot"), "robot", {n, 3})};
        check_worlds(batch);
        return batch;
    };
    const WorldBatch before = worlds("inputs"), after = worlds("outputs");
    const int examples = source.attr("examples").cast<int>(), shown = source.attr("shown").cast<int>();
    if (shown < 1 || shown > examples || n % examples) throw py::value_error("every specification must have as many examples");
    return {n / examples, examples, shown, before.height, before.width, before.walls, before.markers, before.robot, after.walls,
            after.markers, after.robot};
}

// A layer has at most `action_count` times as many nodes as the one before, and their numbers are 32 bits wide.
constexpr std::int64_t most_states = 250'000'000;
static_assert(most_states * (1 + action_count) <= std::numeric_limits<std::int32_t>::max());

void check_limits(std::int64_t max_states, int threads) {
    if (max_states < 1 || max_states > most_states) throw py::value_error("max_states must be 1.." + std::to_string(most_states));
    if (threads < 1) throw py::value_error("threads must be at least 1");
}

py::dict solve_all(const py::handle& problem, std::int64_t max_states, int threads) {
    const Prior prior = make_prior(problem.attr("prior"));
    const Specifications specifications = make_specifications(problem);
    check_limits(max_states, threads);
    const py::ssize_t n = specifications.count, longest = prior.longest;
    Made<std::int64_t> counts({n}), shortest_counts({n}), nodes({n});
    Made<double> mass({n}), entropy({n}), mode_mass({n}), generalises({n}), reach({n, longest + 1}), token_entropy({n, longest + 1});
    Made<std::int32_t> shortest({n}), mode_lengths({n});
    Made<std::uint8_t> shortest_actions({n, longest}), mode_actions({n, longest});
    Made<bool> mode_generalises({n});
    const SolveOutput out{counts.data, mass.data, entropy.data, shortest.data, shortest_counts.data, shortest_actions.data,
                          mode_lengths.data, mode_mass.data, mode_actions.data, generalises.data,
                          reinterpret_cast<std::uint8_t*>(mode_generalises.data), reach.data, token_entropy.data, nodes.data};
    run_interruptibly([&](Interrupt& interrupt) { return solve(specifications, prior, max_states, threads, out, interrupt); });
    using py::arg;
    return py::dict(arg("counts") = counts.array, arg("mass") = mass.array, arg("entropy") = entropy.array,
                    arg("shortest") = shortest.array, arg("shortest_counts") = shortest_counts.array,
                    arg("shortest_actions") = shortest_actions.array, arg("mode_lengths") = mode_lengths.array,
                    arg("mode_mass") = mode_mass.array, arg("mode_actions") = mode_actions.array,
                    arg("generalises") = generalises.array, arg("mode_generalises") = mode_generalises.array,
                    arg("reach") = reach.array, arg("token_entropy") = token_entropy.array, arg("states") = nodes.array);
}

template <class T>
py::array_t<T> copied(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::dict graph_of(const py::handle& problem, std::int64_t i, std::int64_t max_states) {
    const Prior prior = make_prior(problem.attr("prior"));
    const Specifications specifications = make_specifications(problem);
    check_limits(max_states, 1);
    if (i < 0 || i >= specifications.count) throw py::index_error("there is no such specification");
    Graph graph;
    run_interruptibly([&](Interrupt& interrupt) { return solve_graph(specifications, prior, max_states, i, graph, interrupt); });
    Made<std::int32_t> children({static_cast<py::ssize_t>(graph.size()), action_count});
    for (std::int64_t node = 0; node < graph.size(); ++node) {
        const auto& row = graph.children[static_cast<std::size_t>(node)];
        std::copy(row.begin(), row.end(), children.data + node * action_count);
    }
    Made<bool> satisfied({static_cast<py::ssize_t>(graph.size())});
    std::copy(graph.satisfied.begin(), graph.satisfied.end(), satisfied.data);
    using py::arg;
    return py::dict(arg("starts") = copied(graph.starts), arg("children") = children.array, arg("totals") = copied(graph.totals),
                    arg("satisfied") = satisfied.array, arg("counts") = copied(graph.counts), arg("mass") = copied(graph.mass),
                    arg("entropy") = copied(graph.entropy), arg("shortest") = copied(graph.shortest),
                    arg("shortest_counts") = copied(graph.shortest_counts));
}

py::tuple along(const py::handle& problem, const array& actions, const array& lengths, std::int64_t max_states, int threads) {
    const Prior prior = make_prior(problem.attr("prior"));
    const Specifications specifications = make_specifications(problem);
    check_limits(max_states, threads);
    const py::ssize_t n = specifications.count;
    const auto* codes = checked<std::uint8_t>(actions, "actions", {n, -1});
    const auto* sizes = checked<std::int32_t>(lengths, "lengths", {n});
    const py::ssize_t width = actions.shape(1);
    for (py::ssize_t i = 0; i < n; ++i) {
        if (sizes[i] < 0 || sizes[i] > width) throw py::value_error("lengths must be 0..width of actions");
        for (std::int32_t k = 0; k < sizes[i]; ++k) {
            if (codes[i * width + k] >= action_count) throw py::value_error("actions must be 0..4");
        }
    }
    Made<double> posteriors({n, width + 1, action_count + 1});
    Made<std::int32_t> on_track({n});
    run_interruptibly([&](Interrupt& interrupt) {
        return solve_along(specifications, prior, max_states, static_cast<int>(width), codes, sizes, threads, posteriors.data,
                           on_track.data, interrupt);
    });
    return py::make_tuple(posteriors.array, on_track.array);
}

}  // namespace
}  // namespace karel::bindings

void register_exact(pybind11::module_& module) {
    using namespace karel::bindings;
    using py::arg;
    module.def("solve", &solve_all, arg("problem"), arg("max_states"), arg("threads"));
    module.def("solve_graph", &graph_of, arg("problem"), arg("specification"), arg("max_states"));
    module.def("solve_along", &along, arg("problem"), arg("actions"), arg("lengths"), arg("max_states"), arg("threads"));
}
