// The search for the programs of one specification, for all that ask about their graph: one `Solver` per piece of work.
#pragma once
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "solver.hpp"
#include "solver_worlds.hpp"

namespace karel {

inline constexpr std::int64_t nodes_between_looks = 4096;  // at whether to stop
inline constexpr std::int32_t unseen = -2;

[[noreturn]] inline void reject(std::int64_t specification, const std::string& what) {
    throw std::invalid_argument("specification " + std::to_string(specification) + ": " + what);
}

// What one piece of work needs; its memory serves one specification after the other.
class Solver {
public:
    Solver(const Specifications& specifications, const Prior& prior, std::int64_t max_states, const Worker& worker)
        : all_(specifications),
          prior_(prior),
          max_states_(max_states),
          worker_(worker),
          worlds_(static_cast<std::size_t>(specifications.examples)) {
        total_ = total_weight(prior);
        for (int a = 0; a < action_count; ++a) {
            if (prior.weights[a]) possible_[prior.performed[a]] = true;
        }
    }

    void begin(std::int64_t i) {
        specification_ = i;
        for (int e = 0; e < all_.examples; ++e) {
            worlds_[static_cast<std::size_t>(e)].begin(example_of(all_, i * all_.examples + e), possible_);
        }
    }

    // The states of example e's world.
    WorldStates& world(int e) { return worlds_[static_cast<std::size_t>(e)]; }

    // The graph of the programs that satisfy the first `examples` examples.
    void build(int examples, Graph& graph) {
        grow(examples, graph);
        sum_up(graph);
    }

    // Whether the program turns the held-out inputs into their outputs.
    bool generalises(const std::uint8_t* actions, std::int32_t length) {
        for (std::size_t e = static_cast<std::size_t>(all_.shown); e < worlds_.size(); ++e) {
            std::int32_t state = WorldStates::first;
            for (std::int32_t t = 0; t < length && state != WorldStates::stopped; ++t) {
                state = worlds_[e].next(state, prior_.performed[actions[t]]);
            }
            if (state == WorldStates::stopped || !worlds_[e].need(state).nothing()) return false;
        }
        return true;
    }

    // The prior over the next action and the end, given the t actions so far; what they were matters to avoid_noops alone.
    void prior_row(const std::uint8_t* actions, int t, double* row) {
        const int lengths_left = prior_.longest - std::max(t, prior_.shortest) + 1;
        const double end = lengths_left <= 0 ? 1.0 : t >= prior_.shortest ? 1.0 / lengths_left : 0.0;
        auto weights = prior_.weights;
        std::uint32_t total = total_;
        if (prior_.avoid_noops) {
            std::array<bool, action_count> changes{};
            for (int e = 0; e < all_.shown; ++e) {
                WorldStates& world = worlds_[static_cast<std::size_t>(e)];
                std::int32_t state = WorldStates::first;
                for (int k = 0; k < t && state != WorldStates::stopped; ++k) state = world.next(state, prior_.performed[actions[k]]);
                if (state == WorldStates::stopped) continue;  // this world changes no more
                for (std::uint8_t a = 0; a < action_count; ++a) changes[a] = changes[a] || world.next(state, a) != state;
            }
            total = drawn_with(prior_, changes, weights);
        }
        for (int a = 0; a < action_count; ++a) row[a] = (1.0 - end) * weights[a] / total;
        row[action_count] = end;
    }

    const Worker& worker() const { return worker_; }

private:
    // Joint states of one number of actions: `examples` state numbers each.
    using States = std::vector<std::int32_t>;

    bool look(std::int64_t node) const {
        if (node % nodes_between_looks) return false;
        worker_.check();
        return true;
    }

    void check_size(std::int64_t nodes, int t) const {
        std::int64_t states = nodes;
        for (const WorldStates& world : worlds_) states += world.size();
        if (states <= max_states_) return;
        reject(specification_, "programs of up to " + std::to_string(prior_.longest) + " actions reach more than max_states = " +
                                   std::to_string(max_states_) + " states, of all worlds together and of each (after " +
                                   std::to_string(t) + " actions); they grow with the longest program, the actions allowed and the "
                                   "size of the worlds: solve shorter lengths, or raise max_states if there is memory");
    }

    void grow(int examples, Graph& graph) {
        graph.starts.assign(1, 0);
        graph.children.clear();
        graph.totals.clear();
        graph.satisfied.clear();
        here_.assign(static_cast<std::size_t>(examples), WorldStates::first);
        std::int64_t in_layer = far(here_.data(), examples) <= prior_.longest ? 1 : 0;
        for (int t = 0; t <= prior_.longest; ++t) {
            const std::int64_t start = graph.starts.back();
            graph.starts.push_back(start + in_layer);
            check_size(start + in_layer, t);
            there_.clear();
            table_.clear();
            std::int64_t made = 0;
            for (std::int64_t k = 0; k < in_layer; ++k) {
                if (look(start + k)) check_size(start + in_layer + made, t + 1);
                made = expand(examples, k, t, start + in_layer, made, graph);
            }
            here_.swap(there_);
            in_layer = made;
        }
    }

    // Least number of actions to the outputs, from what each world still needs: an action serves all worlds at once, but is of
    // one kind only. 0 only where all look like their outputs.
    int far(const std::int32_t* states, int examples) const {
        int moves = 0, turns = 0, pose = 0, picks = 0, puts = 0;
        for (int e = 0; e < examples; ++e) {
            const Need& need = worlds_[static_cast<std::size_t>(e)].need(states[e]);
            moves = std::max<int>(moves, need.moves);
            turns = std::max<int>(turns, need.turns);
            pose = std::max<int>(pose, need.pose);
            picks = std::max<int>(picks, need.picks);
            puts = std::max<int>(puts, need.puts);
        }
        return std::max(pose, moves + turns) + picks + puts;
    }

    // Adds node k of layer t, and those of its children that are new, to the graph; returns how many the next layer has then.
    std::int64_t expand(int examples, std::int64_t k, int t, std::int64_t next_start, std::int64_t made, Graph& graph) {
        const auto stride = static_cast<std::size_t>(examples);
        const std::int32_t* const states = here_.data() + static_cast<std::size_t>(k) * stride;
        graph.satisfied.push_back(t >= prior_.shortest && far(states, examples) == 0);
        auto& children = graph.children.emplace_back();
        children.fill(-1);
        graph.totals.push_back(total_);
        if (t == prior_.longest) return made;

        std::array<bool, action_count> changes{};
        std::array<bool, action_count> runs{};
        after_.resize(action_count * stride);
        for (std::uint8_t a = 0; a < action_count; ++a) {
            runs[a] = possible_[a];
            for (int e = 0; possible_[a] && e < examples; ++e) {
                const std::int32_t state = worlds_[static_cast<std::size_t>(e)].next(states[e], a);
                changes[a] = changes[a] || (e < all_.shown && state != states[e]);
                runs[a] = runs[a] && state != WorldStates::stopped;
                after_[a * stride + static_cast<std::size_t>(e)] = state;
            }
        }
        auto weights = prior_.weights;
        if (prior_.avoid_noops) graph.totals.back() = drawn_with(prior_, changes, weights);

        std::array<std::int32_t, action_count> reached;  // by performed action
        reached.fill(unseen);
        for (int written = 0; written < action_count; ++written) {
            if (!weights[written]) continue;
            const std::uint8_t a = prior_.performed[written];
            if (reached[a] == unseen) {
                const std::int32_t* const after = after_.data() + a * stride;
                const bool in_reach = runs[a] && far(after, examples) <= prior_.longest - t - 1;
                reached[a] = in_reach ? static_cast<std::int32_t>(next_start) + number_of(after, stride, made) : -1;
            }
            children[written] = reached[a];
        }
        return made;
    }

    // Which node of the next layer has these states; one more than `made` so far, where none has.
    std::int32_t number_of(const std::int32_t* states, std::size_t stride, std::int64_t& made) {
        std::uint64_t hash = 0;
        for (std::size_t e = 0; e < stride; ++e) hash = mix(hash, static_cast<std::uint64_t>(states[e]));
        const std::int32_t found = table_.find_or_enter(hash, static_cast<std::int32_t>(made), [&](std::int32_t other) {
            return std::equal(states, states + stride, there_.data() + static_cast<std::size_t>(other) * stride);
        });
        if (found == made) {
            there_.insert(there_.end(), states, states + stride);
            ++made;
        }
        return found;
    }

    void add(std::int64_t& sum, std::int64_t more) const {
        if (more > std::numeric_limits<std::int64_t>::max() - sum) {
            reject(specification_, "more than 2**63 - 1 programs of up to " + std::to_string(prior_.longest) +
                                       " actions satisfy it; their number grows with the longest program: solve shorter lengths");
        }
        sum += more;
    }

    // From the last node to the first, what follows each; always in the same order, so the sums are the same bits every time.
    void sum_up(Graph& graph) const {
        const auto size = static_cast<std::size_t>(graph.size());
        graph.counts.assign(size, 0);
        graph.mass.assign(size, 0.0);
        graph.entropy.assign(size, 0.0);
        graph.best.assign(size, 0.0);
        graph.shortest.assign(size, -1);
        graph.shortest_counts.assign(size, 0);
        const double ending = 1.0 / lengths_of(prior_);
        for (std::size_t node = size; node-- > 0;) {
            look(static_cast<std::int64_t>(node));
            std::array<double, choices> ways{};
            const bool ends = graph.satisfied[node] != 0;
            if (ends) {
                graph.counts[node] = graph.shortest_counts[node] = 1;
                graph.shortest[node] = 0;
                graph.mass[node] = graph.best[node] = ways[action_count] = ending;
            }
            for (std::size_t a = 0; a < action_count; ++a) {
                if (graph.children[node][a] < 0) continue;
                const auto child = static_cast<std::size_t>(graph.children[node][a]);
                if (!graph.counts[child]) continue;
                const double chance = static_cast<double>(prior_.weights[a]) / graph.totals[node];
                add(graph.counts[node], graph.counts[child]);
                ways[a] = chance * graph.mass[child];
                graph.mass[node] += ways[a];
                graph.best[node] = std::max(graph.best[node], chance * graph.best[child]);
                const std::int32_t length = graph.shortest[child] + 1;
                if (graph.shortest[node] < 0 || length < graph.shortest[node]) {
                    graph.shortest[node] = length;
                    graph.shortest_counts[node] = 0;
                }
                if (length == graph.shortest[node]) graph.shortest_counts[node] += graph.shortest_counts[child];
            }
            if (!graph.counts[node]) continue;
            if (graph.best[node] < DBL_MIN) {
                reject(specification_, "its programs are less probable than a double can hold; give shorter lengths or action "
                                       "weights that differ less");
            }
            for (std::size_t a = 0; a < choices; ++a) {
                const double chance = ways[a] / graph.mass[node];
                if (chance <= 0.0) continue;
                const double after = a < action_count ? graph.entropy[static_cast<std::size_t>(graph.children[node][a])] : 0.0;
                graph.entropy[node] += chance * (after - std::log(chance));
            }
        }
    }

    const Specifications& all_;
    const Prior& prior_;
    const std::int64_t max_states_;
    const Worker& worker_;
    std::vector<WorldStates> worlds_;
    std::array<bool, action_count> possible_{};  // by performed action
    std::uint32_t total_ = 0;
    std::int64_t specification_ = 0;
    States here_, there_, after_;
    IndexTable table_;
};

// Calls work(solver, graph, i) for specifications first .. first + count - 1 on several threads, each piece of them with its own solver.
template <class Work>
bool for_each(const Specifications& specifications, const Prior& prior, std::int64_t max_states, int threads, Interrupt& interrupt,
              std::int64_t first, std::int64_t count, Work&& work) {
    // One may take seconds, so that few are still shared out.
    const std::int64_t grain = std::clamp<std::int64_t>(count / (std::int64_t{8} * threads), 1, 16);
    return parallel_for(count, grain, threads, interrupt, [&](std::int64_t begin, std::int64_t end, const Worker& worker) {
        Solver solver(specifications, prior, max_states, worker);
        Graph graph;
        for (std::int64_t i = first + begin; i < first + end; ++i) {
            worker.check();
            solver.begin(i);
            work(solver, graph, i);
        }
    });
}

}  // namespace karel
