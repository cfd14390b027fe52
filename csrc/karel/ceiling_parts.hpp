// What the ideal readers of `ceiling.hpp` share: how programs that one cannot tell apart are carried forward, and what is counted.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "ceiling.hpp"
#include "solver_graph.hpp"
#include "solver_worlds.hpp"

namespace karel {

// Programs that one cannot tell apart: what comes next depends on the context, the label on the state.
struct Way {
    std::int32_t context;
    std::int32_t state;
    double weight;
};
using Front = std::vector<Way>;

// One world's states under one meaning: only poses where no marker has a say in what is asked.
struct Walk {
    WorldStates& world;
    const std::uint8_t* performed;
    bool poses;
    int levels;

    std::int32_t first() const { return poses ? world.pose(WorldStates::first) : WorldStates::first; }
    std::int32_t next(std::int32_t state, int written) const {
        const std::uint8_t action = performed[written];
        return poses ? world.pose_after(state, action) : world.next(state, action);
    }
    // Where the state's label stands among a feature's codes.
    std::size_t place(std::int32_t state) const {
        if (poses) return static_cast<std::size_t>(state);
        const int level = levels == 1 ? 0 : std::min(world.markers_here(state), levels - 1);
        return static_cast<std::size_t>(world.pose(state) * levels + level);
    }
};

// The chances of the next action by what a specification's programs do.
class Posterior {
public:
    Posterior(const Graph& graph, const Prior& prior) : graph_(graph), rows_(static_cast<std::size_t>(graph.size())) {
        for (std::size_t node = 0; node < rows_.size(); ++node) {
            if (graph.counts[node]) posterior_row(graph, prior, node, rows_[node].data());
        }
    }

    double chance(std::int32_t node, std::size_t action) const { return rows_[static_cast<std::size_t>(node)][action]; }
    std::int32_t child(std::int32_t node, std::size_t action) const {
        return chance(node, action) > 0.0 ? graph_.children[static_cast<std::size_t>(node)][action] : -1;
    }
    // (actions more, node): the chance that so many more follow.
    std::vector<std::vector<double>> at_least(int most) const {
        std::vector<std::vector<double>> found{std::vector<double>(rows_.size(), 1.0)};
        for (int more = 1; more <= most; ++more) {
            std::vector<double> chances(rows_.size(), 0.0);
            for (std::size_t node = 0; node < rows_.size(); ++node) {
                for (std::size_t a = 0; a < action_count; ++a) {
                    const std::int32_t after = child(static_cast<std::int32_t>(node), a);
                    if (after >= 0) chances[node] += rows_[node][a] * found.back()[static_cast<std::size_t>(after)];
                }
            }
            found.push_back(std::move(chances));
        }
        return found;
    }

private:
    const Graph& graph_;
    std::vector<std::array<double, choices>> rows_;
};

// The chances of the next action where a program is drawn without regard to any specification.
class Drawing {
public:
    Drawing(const Prior& prior, std::vector<WorldStates*> worlds) : prior_(prior), worlds_(std::move(worlds)) {
        const std::uint32_t total = total_weight(prior);
        for (std::size_t a = 0; a < action_count; ++a) by_weight_[a] = static_cast<double>(prior.weights[a]) / total;
        restart();
    }

    // Context 0 becomes that of no action.
    void restart() { plant(std::vector<std::int32_t>(prior_.avoid_noops ? worlds_.size() : 0, WorldStates::first)); }

    // Context 0 becomes that after one more action; returns its chance.
    double step(std::size_t action) {
        const double chance = chances(0)[action];
        plant(after(0, action));
        return chance;
    }

    double chance(std::int32_t context, std::size_t action) { return chances(context)[action]; }
    std::int32_t child(std::int32_t context, std::size_t action) {
        if (chances(context)[action] <= 0.0) return -1;
        if (!prior_.avoid_noops) return 0;
        if (nodes_[static_cast<std::size_t>(context)].children[action] < 0) {
            const std::vector<std::int32_t> states = after(context, action);
            nodes_[static_cast<std::size_t>(context)].children[action] = static_cast<std::int32_t>(nodes_.size());
            enter(states);
        }
        return nodes_[static_cast<std::size_t>(context)].children[action];
    }

private:
    struct Node {
        bool looked_at;
        std::array<double, action_count> chances;
        std::array<std::int32_t, action_count> children;
    };

    void plant(const std::vector<std::int32_t>& states) {
        nodes_.clear();
        states_.clear();
        enter(states);
    }

    void enter(const std::vector<std::int32_t>& states) {
        states_.insert(states_.end(), states.begin(), states.end());
        auto& node = nodes_.emplace_back(Node{!prior_.avoid_noops, by_weight_, {}});
        node.children.fill(-1);
    }

    std::int32_t state(std::int32_t context, std::size_t e) const {
        return states_[static_cast<std::size_t>(context) * worlds_.size() + e];
    }

    // A world whose run was stopped changes no more.
    std::int32_t next(std::int32_t context, std::size_t e, std::uint8_t performed) {
        const std::int32_t before = state(context, e);
        return before == WorldStates::stopped ? before : worlds_[e]->next(before, performed);
    }

    std::vector<std::int32_t> after(std::int32_t context, std::size_t action) {
        std::vector<std::int32_t> states(prior_.avoid_noops ? worlds_.size() : 0);
        for (std::size_t e = 0; e < states.size(); ++e) states[e] = next(context, e, prior_.performed[action]);
        return states;
    }

    const std::array<double, action_count>& chances(std::int32_t context) {
        Node& node = nodes_[static_cast<std::size_t>(context)];
        if (!node.looked_at) {
            std::array<bool, action_count> changes{};
            for (std::uint8_t a = 0; a < action_count; ++a) {
                for (std::size_t e = 0; e < worlds_.size() && !changes[a]; ++e) {
                    changes[a] = next(context, e, a) != state(context, e);
                }
            }
            std::array<std::uint32_t, action_count> weights;
            const std::uint32_t total = drawn_with(prior_, changes, weights);
            for (std::size_t a = 0; a < action_count; ++a) node.chances[a] = static_cast<double>(weights[a]) / total;
            node.looked_at = true;
        }
        return node.chances;
    }

    const Prior& prior_;
    std::vector<WorldStates*> worlds_;  // that avoid_noops looks at
    std::array<double, action_count> by_weight_{};
    std::vector<Node> nodes_;
    std::vector<std::int32_t> states_;  // (contexts, worlds) under avoid_noops
};

// Moves a front one action on. Runs that stop have no label any more.
template <class Chain>
void advance(Chain& chain, const Walk& walk, Front& front, Front& spare, IndexTable& table, const Worker& worker) {
    constexpr std::size_t ways_between_looks = 1024;
    spare.clear();
    table.clear();
    std::size_t ways = 0;
    for (const Way& way : front) {
        if (ways++ % ways_between_looks == 0) worker.check();
        for (std::size_t a = 0; a < action_count; ++a) {
            const std::int32_t context = chain.child(way.context, a);
            if (context < 0) continue;
            const std::int32_t state = walk.next(way.state, static_cast<int>(a));
            if (state == WorldStates::stopped) continue;
            const std::uint64_t hash = mix(mix(0, static_cast<std::uint64_t>(context)), static_cast<std::uint64_t>(state));
            const auto number = static_cast<std::int32_t>(spare.size());
            const std::int32_t found = table.find_or_enter(hash, number, [&](std::int32_t other) {
                const Way& there = spare[static_cast<std::size_t>(other)];
                return there.context == context && there.state == state;
            });
            if (found == number) spare.push_back({context, state, 0.0});
            spare[static_cast<std::size_t>(found)].weight += way.weight * chain.chance(way.context, a);
        }
    }
    front.swap(spare);
}

// A reader's weights of one feature's labels.
class Tally {
public:
    Tally(int heads, int classes) : heads_(heads), classes_(classes) {
        std::size_t labels = 1;
        for (int head = 0; head < heads; ++head) labels *= static_cast<std::size_t>(classes);
        weights_.assign(labels, 0.0);
    }

    void add(std::int16_t code, double weight) {
        if (code < 0 || weight <= 0.0) return;
        double& known = weights_[static_cast<std::size_t>(code)];
        if (known == 0.0) met_.push_back(code);
        known += weight;
        total_ += weight;
    }

    template <class Found>
    void each(Found&& found) const {
        for (const std::int16_t code : met_) found(code, weight(code));
    }

    // How well the actual label is known. `spread` more weight lies on all labels alike.
    void answer(std::int16_t actual, double spread, double& right, double& loss) const {
        double best = 0.0;
        for (const std::int16_t code : met_) best = std::max(best, weight(code));
        int best_ones = 0;
        bool among = false;
        std::array<double, 8> by_head{};
        for (const std::int16_t code : met_) {
            // Weights that are sums of the same numbers in another order differ in their last bits.
            if (weight(code) >= best * (1.0 - 1e-9)) {
                ++best_ones;
                among = among || code == actual;
            }
            int theirs = code, ours = actual;
            for (int head = 0; head < heads_; ++head, theirs /= classes_, ours /= classes_) {
                if (theirs % classes_ == ours % classes_) by_head[static_cast<std::size_t>(head)] += weight(code);
            }
        }
        if (among) right += 1.0 / best_ones;
        for (int head = 0; head < heads_; ++head) {
            const double chance = (by_head[static_cast<std::size_t>(head)] + spread / classes_) / (total_ + spread);
            // A sum of weights may exceed their total in its last bit; nothing at all may be known to be possible.
            loss += chance > 0.0 ? std::max(0.0, -std::log2(chance)) : std::numeric_limits<double>::infinity();
        }
    }

    void clear() {
        for (const std::int16_t code : met_) weights_[static_cast<std::size_t>(code)] = 0.0;
        met_.clear();
        total_ = 0.0;
    }

private:
    double weight(std::int16_t code) const { return weights_[static_cast<std::size_t>(code)]; }

    int heads_, classes_;
    std::vector<double> weights_;
    std::vector<std::int16_t> met_;
    double total_ = 0.0;
};

// What all readers share: where labels and answers stand, and which states are walked through.
struct Asked {
    const Specifications& specifications;
    const Prior& prior;
    const StateCodes& states;
    const Question& question;
    bool poses;

    Asked(const Specifications& s, const Prior& p, const StateCodes& c, const Question& q)
        : specifications(s), prior(p), states(c), question(q) {
        // Where no cell can be filled, no run stops, and a feature that looks at poses alone needs nothing else.
        const std::int64_t cells = s.count * s.examples * s.height * s.width;
        const int most = cells ? *std::max_element(s.markers, s.markers + cells) : 0;
        poses = c.levels == 1 && most + std::max(q.width, p.longest) <= most_markers;
    }

    std::size_t row(std::int64_t i, int k, int meaning, int j) const {
        return static_cast<std::size_t>(((i * question.width + k) * question.meanings + meaning) * question.offsets + j) *
               static_cast<std::size_t>(states.features);
    }
    std::int16_t label(std::int64_t i, int k, int meaning, int j, int feature, int e) const {
        const std::size_t at = row(i, k, meaning, j) + static_cast<std::size_t>(feature);
        return question.labels[at * static_cast<std::size_t>(question.examples) + static_cast<std::size_t>(e)];
    }
    const std::int16_t* codes(std::int64_t world, int feature) const {
        const std::int64_t places = static_cast<std::int64_t>(specifications.height) * specifications.width * 4 * states.levels;
        return states.codes + (world * states.features + feature) * places;
    }
    const std::uint8_t* performed(int meaning) const { return question.performed + meaning * action_count; }
    const std::uint8_t* program(std::int64_t i) const { return question.actions + i * question.width; }

    // The prior chance of at least so many actions.
    double at_least(int actions) const {
        return static_cast<double>(std::max(0, prior.longest - std::max(actions, prior.shortest) + 1)) / lengths_of(prior);
    }
    // Fewest actions that follow a state with a label at this offset: enough for the label, and for the action asked about.
    int rest(int j) const { return std::max(question.rest, -question.offset[j]); }

    std::vector<Tally> tallies() const {
        std::vector<Tally> made;
        for (int f = 0; f < states.features; ++f) made.emplace_back(states.heads[f], states.classes[f]);
        return made;
    }
    // The largest offset at which anything has a label, -1 if that is in the past or nothing has.
    int farthest() const {
        int found = -1;
        const std::int64_t rows = question.count * question.width * question.meanings * question.offsets;
        const std::int64_t of_row = std::int64_t{states.features} * question.examples;
        for (std::int64_t at = 0; at < rows; ++at) {
            const int offset = question.offset[at % question.offsets];
            if (offset <= found) continue;
            const std::int16_t* const labels = question.labels + at * of_row;
            if (std::any_of(labels, labels + of_row, [](std::int16_t label) { return label >= 0; })) found = offset;
        }
        return found;
    }
    void clear(const Answers& answers) const {
        const std::size_t size = row(question.count, 0, 0, 0);
        std::fill_n(answers.right, size, 0.0);
        std::fill_n(answers.loss, size, 0.0);
    }
};

}  // namespace karel
