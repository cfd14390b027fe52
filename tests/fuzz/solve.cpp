// Fuzzes the exact solver: any worlds as specifications and any prior. What it refuses is refused; what it takes has, for short
// programs, the programs and chances that writing all of them down one by one gives, and the same bits whatever the threads.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "../../csrc/karel/solver.hpp"
#include "specifications.hpp"

namespace {

using namespace karel;
using fuzz::Arrays;
using fuzz::Bytes;
using fuzz::Exact;
using fuzz::Plain;
using fuzz::drawn_specifications;
using fuzz::room;

constexpr int longest_by_hand = 3;  // 156 programs of five actions
constexpr std::int64_t most_states = 4000;  // more than those can reach

struct Program {
    std::vector<std::uint8_t> actions;
    double chance;
    bool generalises;
};

// Every program that satisfies the shown examples of a specification, in order of length and then of codes.
class Written {
public:
    Written(const Arrays& all, const Prior& prior, std::int64_t i) : all_(all), prior_(prior) {
        std::vector<Plain> worlds;
        for (int e = 0; e < all.examples; ++e) worlds.emplace_back(all, i * all.examples + e);
        go_on(worlds, 1.0);
        std::stable_sort(found.begin(), found.end(), [](const Program& a, const Program& b) { return a.actions.size() < b.actions.size(); });
    }
    std::vector<Program> found;

private:
    void go_on(const std::vector<Plain>& worlds, double chance) {
        const int length = static_cast<int>(actions_.size());
        const auto right = [](const Plain& world) { return world.looks_like_output(); };
        if (length >= prior_.shortest && std::all_of(worlds.begin(), worlds.begin() + all_.shown, right)) {
            found.push_back({actions_, chance / (prior_.longest - prior_.shortest + 1), std::all_of(worlds.begin(), worlds.end(), right)});
        }
        if (length == prior_.longest) return;
        std::array<std::vector<Plain>, action_count> after;
        std::array<double, action_count> weights{};
        double useful = 0, total = 0;
        for (std::uint8_t written = 0; written < action_count; ++written) {
            after[written] = worlds;
            bool changes = false;
            for (std::size_t e = 0; e < worlds.size(); ++e) {
                after[written][e].act(prior_.performed[written]);
                changes = changes || (static_cast<int>(e) < all_.shown && !(after[written][e] == worlds[e]));
            }
            weights[written] = changes ? prior_.weights[written] : 0;
            useful += weights[written];
            total += prior_.weights[written];
        }
        const bool any = !prior_.avoid_noops || useful == 0;
        for (std::uint8_t written = 0; written < action_count; ++written) {
            const double weight = any ? prior_.weights[written] : weights[written];
            // A shown run that stopped satisfies nothing any more.
            const bool runs = std::none_of(after[written].begin(), after[written].begin() + all_.shown, [](const Plain& w) { return w.stopped; });
            if (weight == 0 || !runs) continue;
            actions_.push_back(written);
            go_on(after[written], chance * weight / (any ? total : useful));
            actions_.pop_back();
        }
    }

    const Arrays& all_;
    const Prior& prior_;
    std::vector<std::uint8_t> actions_;
};

struct Solved {
    Solved(const Specifications& given, const Prior& prior, int threads)
        : n(room(given.count)), width(room(prior.longest)), counts(n), shortest_counts(n), nodes(n), mass(n), entropy(n), mode_mass(n),
          generalises(n), reach(n * (width + 1)), token_entropy(reach.size), shortest(n), mode_lengths(n), shortest_actions(n * width),
          mode_actions(n * width), mode_generalises(n) {
        Interrupt interrupt(nullptr);
        const SolveOutput out{counts.get(), mass.get(), entropy.get(), shortest.get(), shortest_counts.get(), shortest_actions.get(),
                              mode_lengths.get(), mode_mass.get(), mode_actions.get(), generalises.get(), mode_generalises.get(), reach.get(),
                              token_entropy.get(), nodes.get()};
        solve(given, prior, most_states, threads, out, interrupt);
    }
    std::size_t n, width;
    Exact<std::int64_t> counts, shortest_counts, nodes;
    Exact<double> mass, entropy, mode_mass, generalises, reach, token_entropy;
    Exact<std::int32_t> shortest, mode_lengths;
    Exact<std::uint8_t> shortest_actions, mode_actions, mode_generalises;
};

template <class T>
void same(const Exact<T>& one, const Exact<T>& other, const char* what) {
    const auto equal = [](T a, T b) { return a == b || (a != a && b != b); };
    if (!std::equal(one.get(), one.get() + one.size, other.get(), equal)) fuzz::differs(what);
}

void near(double found, double wanted, const char* what) {
    if (!(std::abs(found - wanted) <= 1e-9 * (1e-3 + std::abs(wanted)))) fuzz::differs(what);
}

bool starts_with(const Program& program, const std::uint8_t* prefix, std::size_t length) {
    return program.actions.size() >= length && std::equal(prefix, prefix + length, program.actions.begin());
}

void check_solution(const Solved& solved, std::size_t i, const std::vector<Program>& all) {
    if (solved.counts[i] != static_cast<std::int64_t>(all.size())) fuzz::differs("how many programs satisfy");
    if (all.empty()) return;
    double mass = 0, both = 0, best = 0, entropy = 0;
    for (const Program& program : all) {
        mass += program.chance;
        both += program.generalises ? program.chance : 0;
        best = std::max(best, program.chance);
    }
    for (const Program& program : all) entropy -= program.chance / mass * std::log(program.chance / mass);
    near(solved.mass[i], mass, "mass");
    near(solved.mode_mass[i], best, "the mode's mass");
    near(1 + solved.entropy[i], 1 + entropy, "entropy");
    near(1 + solved.generalises[i], 1 + both / mass, "the chance to generalise");
    const Program& first = all.front();
    if (solved.shortest[i] != static_cast<std::int32_t>(first.actions.size())) fuzz::differs("the shortest length");
    const auto as_short = std::count_if(all.begin(), all.end(), [&](const Program& p) { return p.actions.size() == first.actions.size(); });
    if (solved.shortest_counts[i] != as_short) fuzz::differs("how many are shortest");
    if (!std::equal(first.actions.begin(), first.actions.end(), solved.shortest_actions.get() + i * solved.width)) fuzz::differs("the shortest program");
    const std::uint8_t* mode = solved.mode_actions.get() + i * solved.width;
    const auto length = static_cast<std::size_t>(solved.mode_lengths[i]);
    const auto found = std::find_if(all.begin(), all.end(), [&](const Program& p) { return p.actions.size() == length && starts_with(p, mode, length); });
    if (found == all.end()) fuzz::differs("the mode satisfies nothing");
    near(found->chance, best, "the mode's chance");
    if (found->generalises != (solved.mode_generalises[i] != 0)) fuzz::differs("whether the mode generalises");
    double tokens = 0;
    for (std::size_t t = 0; t <= solved.width; ++t) {
        double longer = 0;
        for (const Program& program : all) longer += program.actions.size() >= t ? program.chance : 0;
        near(1 + solved.reach[i * (solved.width + 1) + t], 1 + longer / mass, "the chance of so many actions");
        tokens += solved.token_entropy[i * (solved.width + 1) + t];
    }
    near(1 + tokens, 1 + entropy, "the entropy of the next tokens together");
}

// The posterior along one program: beside all that begin alike, where any does; and always a distribution.
void check_along(const Specifications& given, const Prior& prior, const std::vector<std::vector<Program>>& programs, Bytes& bytes) {
    const std::size_t n = room(given.count), width = static_cast<std::size_t>(bytes.from(0, longest_by_hand + 2));
    Exact<std::uint8_t> actions(n * width);
    Exact<std::int32_t> lengths(n), on_track(n);
    Exact<double> rows(n * (width + 1) * choices);
    for (std::size_t i = 0; i < n; ++i) lengths[i] = static_cast<std::int32_t>(bytes.from(0, static_cast<std::int64_t>(width)));
    for (std::size_t at = 0; at < actions.size; ++at) actions[at] = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
    Interrupt interrupt(nullptr);
    solve_along(given, prior, most_states, static_cast<int>(width), actions.get(), lengths.get(), 1, rows.get(), on_track.get(), interrupt);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t t = 0; t <= static_cast<std::size_t>(lengths[i]); ++t) {
            const double* row = rows.get() + (i * (width + 1) + t) * choices;
            double sum = 0;
            for (int a = 0; a < choices; ++a) sum += row[a];
            near(sum, 1, "the chances of what comes next");
            if (programs.empty()) continue;
            std::array<double, choices> wanted{};
            double all = 0;
            for (const Program& program : programs[i]) {
                if (!starts_with(program, actions.get() + i * width, t)) continue;
                wanted[program.actions.size() == t ? action_count : program.actions[t]] += program.chance;
                all += program.chance;
            }
            if ((all > 0) != (on_track[i] >= static_cast<std::int32_t>(t))) fuzz::differs("how far a program is on track");
            for (int a = 0; all > 0 && a < choices; ++a) near(1 + row[a], 1 + wanted[static_cast<std::size_t>(a)] / all, "the posterior of what comes next");
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    const int height = static_cast<int>(bytes.from(3, 7)), width = static_cast<int>(bytes.from(3, 7));
    const int shown = static_cast<int>(bytes.from(1, 3)), examples = shown + static_cast<int>(bytes.from(0, 2));
    const bool by_hand = bytes.byte() >= 40;
    Prior prior{};
    prior.shortest = static_cast<int>(bytes.from(0, by_hand ? longest_by_hand : 12));
    prior.longest = prior.shortest + static_cast<int>(by_hand ? bytes.from(0, longest_by_hand - prior.shortest) : bytes.from(0, 20));
    std::uint32_t total = 0;
    for (auto& weight : prior.weights) total += weight = static_cast<std::uint32_t>(bytes.from(0, 6));
    for (auto& performed : prior.performed) performed = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
    prior.avoid_noops = bytes.byte() & 1;
    if (total == 0) return 0;  // refused before it comes to the core

    const Arrays all = drawn_specifications(bytes, shown, examples, height, width, prior, longest_by_hand, by_hand);
    const Specifications given = all.specifications();

    std::vector<std::vector<Program>> programs;
    for (std::int64_t i = 0; by_hand && i < all.count; ++i) programs.push_back(Written(all, prior, i).found);
    try {
        const Solved solved(given, prior, 1), again(given, prior, 2);
        same(solved.counts, again.counts, "counts of two threads");
        same(solved.mass, again.mass, "masses of two threads");
        same(solved.entropy, again.entropy, "entropies of two threads");
        same(solved.mode_actions, again.mode_actions, "modes of two threads");
        same(solved.generalises, again.generalises, "chances of two threads");
        for (std::size_t i = 0; i < programs.size(); ++i) check_solution(solved, i, programs[i]);
        check_along(given, prior, programs, bytes);
        Graph graph;
        Interrupt interrupt(nullptr);
        for (std::int64_t i = 0; i < all.count; ++i) {
            solve_graph(given, prior, most_states, i, graph, interrupt);
            if (has_programs(graph) != (solved.counts[room(i)] > 0) || (has_programs(graph) && graph.counts[0] != solved.counts[room(i)])) fuzz::differs("the graph");
        }
    } catch (const std::invalid_argument&) {
        if (by_hand) fuzz::differs("short programs are refused");
    }
    return 0;
}
