#include <pybind11/stl.h>

#include <algorithm>
#include <limits>

#include "../karel/ceiling.hpp"
#include "../karel/solver.hpp"
#include "../karel/world.hpp"
#include "arrays.hpp"
#include "interrupt.hpp"
#include "register.hpp"

namespace karel::bindings {
namespace {

using py::array;

// What the readers count in 16 bits, and what keeps sums of lengths and offsets far from 2**31.
constexpr py::ssize_t most_numbered = 65'535, most_actions = 10'000;
constexpr std::int32_t farthest = 10'000;

// From karel_fast.exact.problem.Prior, by its field names.
Prior make_prior(const py::handle& source) {
    const auto get = [&](const char* name) { return source.attr(name); };
    const Prior prior{get("shortest").cast<int>(), get("longest").cast<int>(),
                      get("action_weights").cast<std::array<std::uint32_t, action_count>>(),
                      get("performed").cast<std::array<std::uint8_t, action_count>>(), get("avoid_noops").cast<bool>()};
    std::uint64_t total = 0;
    bool fits = 0 <= prior.shortest && prior.shortest <= prior.longest && prior.longest <= most_actions;
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
    if (width > most_actions) throw py::value_error("programs of at most 10000 actions can be followed");
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

// From karel_fast.exact.ideal_states.StateCodes, by its field names.
StateCodes make_state_codes(const py::handle& source, const Specifications& specifications) {
    const auto heads = source.attr("heads").cast<array>(), classes = source.attr("classes").cast<array>();
    const auto codes = source.attr("codes").cast<array>();
    const auto features = heads.ndim() == 1 ? heads.shape(0) : -1;
    const StateCodes made{static_cast<int>(features), codes.ndim() == 4 ? static_cast<int>(codes.shape(3)) : 0,
                          checked<std::int32_t>(heads, "heads", {-1}), checked<std::int32_t>(classes, "classes", {features}),
                          checked<std::int16_t>(codes, "codes", {specifications.count * specifications.examples, features,
                                                                 py::ssize_t{4} * specifications.height * specifications.width, -1})};
    if (features > most_numbered) throw py::value_error("codes must be of at most 65535 features");
    if (made.levels < 1) throw py::value_error("codes must tell at least one level of markers");
    for (int f = 0; f < made.features; ++f) {
        std::int64_t labels = 1;
        for (int head = 0; head < made.heads[f] && head <= 8 && labels <= 1 << 15; ++head) labels *= std::clamp(made.classes[f], 1, 1 << 15);
        if (made.heads[f] < 1 || made.heads[f] > 8 || made.classes[f] < 1 || labels > 1 << 15) {
            throw py::value_error("a feature must have 1..8 heads and at most 2**15 labels");
        }
        const auto most = static_cast<std::int16_t>(labels - 1);
        const std::int64_t places = codes.shape(2) * codes.shape(3);
        for (py::ssize_t w = 0; w < codes.shape(0); ++w) {
            const std::int16_t* const first = made.codes + (w * features + f) * places;
            if (std::any_of(first, first + places, [&](std::int16_t code) { return code > most; })) {
                throw py::value_error("codes must be below classes ** heads");
            }
        }
    }
    return made;
}

// From karel_fast.exact.ideal_states.Question, by its field names.
Question make_question(const py::handle& source, const StateCodes& states) {
    const auto get = [&](const char* name) { return source.attr(name).cast<array>(); };
    const auto actions = get("actions"), lengths = get("lengths"), performed = get("performed"), offsets = get("offsets"),
               labels = get("labels");
    Question made{};
    made.actions = checked<std::uint8_t>(actions, "actions", {-1, -1});
    const py::ssize_t n = actions.shape(0), width = actions.shape(1);
    made.lengths = checked<std::int32_t>(lengths, "lengths", {n});
    made.performed = checked<std::uint8_t>(performed, "performed", {-1, action_count});
    made.offset = checked<std::int32_t>(offsets, "offsets", {-1});
    made.labels = checked<std::int16_t>(labels, "labels", {n, width, performed.shape(0), offsets.shape(0), states.features, -1});
    made.count = n;
    made.width = static_cast<int>(width);
    made.meanings = static_cast<int>(performed.shape(0));
    made.offsets = static_cast<int>(offsets.shape(0));
    made.examples = static_cast<int>(labels.shape(5));
    made.rest = source.attr("rest").cast<int>();
    made.doubt = source.attr("doubt").cast<double>();
    bool fits = width <= most_actions && offsets.shape(0) <= most_numbered && (made.rest == 0 || made.rest == 1) && 0.0 <= made.doubt && made.doubt <= 1.0;
    for (py::ssize_t i = 0; i < n; ++i) {
        fits = fits && 0 <= made.lengths[i] && made.lengths[i] <= width;
        for (std::int32_t k = 0; fits && k < made.lengths[i]; ++k) fits = made.actions[i * width + k] < action_count;
    }
    for (py::ssize_t k = 0; k < performed.size(); ++k) fits = fits && made.performed[k] < action_count;
    for (int j = 0; j < made.offsets; ++j) fits = fits && -farthest <= made.offset[j] && made.offset[j] <= farthest;
    if (!fits) throw py::value_error("the question's actions, lengths, meanings, offsets, rest or doubt are out of range");
    for (int f = 0; f < states.features; ++f) {
        std::int64_t most = 1;
        for (int head = 0; head < states.heads[f]; ++head) most *= states.classes[f];
        for (py::ssize_t row = 0; row < n * width * made.meanings * made.offsets; ++row) {
            for (int e = 0; e < made.examples; ++e) {
                if (made.labels[(row * states.features + f) * made.examples + e] >= most) {
                    throw py::value_error("labels must be below classes ** heads");
                }
            }
        }
    }
    return made;
}

struct MadeAnswers {
    Made<double> right, loss;
    explicit MadeAnswers(const Question& q, const StateCodes& s)
        : right({static_cast<py::ssize_t>(q.count), q.width, q.meanings, q.offsets, s.features}),
          loss({static_cast<py::ssize_t>(q.count), q.width, q.meanings, q.offsets, s.features}) {}
    Answers answers() const { return {right.data, loss.data}; }
};

py::tuple specification_readers(const py::handle& problem, const py::handle& states, const py::handle& question,
                                std::int64_t max_states, int threads) {
    const Prior prior = make_prior(problem.attr("prior"));
    const Specifications specifications = make_specifications(problem);
    check_limits(max_states, threads);
    const StateCodes codes = make_state_codes(states, specifications);
    const Question asked = make_question(question, codes);
    if (asked.count != specifications.count || asked.examples != specifications.examples || asked.examples != specifications.shown) {
        throw py::value_error("every specification needs one program, with labels for each of its examples");
    }
    const MadeAnswers with_prefix(asked, codes), without_prefix(asked, codes);
    run_interruptibly([&](Interrupt& interrupt) {
        return read_specifications(specifications, prior, codes, asked, max_states, threads, with_prefix.answers(),
                                   without_prefix.answers(), interrupt);
    });
    return py::make_tuple(with_prefix.right.array, with_prefix.loss.array, without_prefix.right.array, without_prefix.loss.array);
}

py::tuple prefix_reader(const py::handle& problem, const py::handle& states, const py::handle& question, std::int64_t max_states,
                        int threads) {
    const Prior prior = make_prior(problem.attr("prior"));
    const Specifications pool = make_specifications(problem);
    check_limits(max_states, threads);
    if (pool.count < 1 || pool.examples != pool.shown) throw py::value_error("the pool needs specifications without held-out examples");
    const StateCodes codes = make_state_codes(states, pool);
    const Question asked = make_question(question, codes);
    const MadeAnswers made(asked, codes);
    run_interruptibly([&](Interrupt& interrupt) {
        return read_prefixes(pool, prior, codes, asked, max_states, threads, made.answers(), interrupt);
    });
    return py::make_tuple(made.right.array, made.loss.array);
}

}  // namespace
}  // namespace karel::bindings

void register_exact(pybind11::module_& module) {
    using namespace karel::bindings;
    using py::arg;
    module.def("solve", &solve_all, arg("problem"), arg("max_states"), arg("threads"));
    module.def("solve_graph", &graph_of, arg("problem"), arg("specification"), arg("max_states"));
    module.def("read_specifications", &specification_readers, arg("problem"), arg("states"), arg("question"), arg("max_states"),
               arg("threads"));
    module.def("read_prefixes", &prefix_reader, arg("pool"), arg("states"), arg("question"), arg("max_states"), arg("threads"));
    module.def("solve_along", &along, arg("problem"), arg("actions"), arg("lengths"), arg("max_states"), arg("threads"));
}
