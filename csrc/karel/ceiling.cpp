#include "ceiling.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "solver_search.hpp"

namespace karel {
namespace {

constexpr int markers_most = 255;

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
                for (std::size_t e = 0; e < worlds_.size() && !changes[a]; ++e) changes[a] = next(context, e, a) != state(context, e);
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
void advance(Chain& chain, const Walk& walk, Front& front, Front& spare, IndexTable& table) {
    spare.clear();
    table.clear();
    for (const Way& way : front) {
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
    Tally(int heads, int classes) : heads_(heads), classes_(classes), weights_(static_cast<std::size_t>(std::pow(classes, heads)), 0.0) {}

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

    Asked(const Specifications& s, const Prior& p, const StateCodes& c, const Question& q) : specifications(s), prior(p), states(c), question(q) {
        // Without a limit on markers in reach, no run stops, and a feature that looks at poses alone needs nothing else.
        const std::int64_t cells = s.count * s.examples * s.height * s.width;
        const int most = cells ? *std::max_element(s.markers, s.markers + cells) : 0;
        poses = c.levels == 1 && most + std::max(q.width, p.longest) <= markers_most;
    }

    std::size_t row(std::int64_t i, int k, int meaning, int j) const {
        return static_cast<std::size_t>(((i * question.width + k) * question.meanings + meaning) * question.offsets + j) *
               static_cast<std::size_t>(states.features);
    }
    std::int16_t label(std::int64_t i, int k, int meaning, int j, int feature, int e) const {
        return question.labels[(row(i, k, meaning, j) + static_cast<std::size_t>(feature)) * static_cast<std::size_t>(question.examples) +
                               static_cast<std::size_t>(e)];
    }
    const std::int16_t* codes(std::int64_t world, int feature) const {
        const std::int64_t places = static_cast<std::int64_t>(specifications.height) * specifications.width * 4 * states.levels;
        return states.codes + (world * states.features + feature) * places;
    }
    const std::uint8_t* performed(int meaning) const { return question.performed + meaning * action_count; }
    const std::uint8_t* program(std::int64_t i) const { return question.actions + i * question.width; }

    // The prior chance of at least so many actions.
    double at_least(int actions) const {
        const int lengths = prior.longest - prior.shortest + 1;
        return static_cast<double>(std::max(0, prior.longest - std::max(actions, prior.shortest) + 1)) / lengths;
    }
    // Fewest actions that follow a state whose label action k is asked for, if the state comes `-offset - 1` before action k is done.
    int rest(int j) const { return std::max(question.rest, -question.offset[j]); }

    std::vector<Tally> tallies() const {
        std::vector<Tally> made;
        for (int f = 0; f < states.features; ++f) made.emplace_back(states.heads[f], states.classes[f]);
        return made;
    }
    void clear(const Answers& answers) const {
        const std::size_t size = row(question.count, 0, 0, 0);
        std::fill_n(answers.right, size, 0.0);
        std::fill_n(answers.loss, size, 0.0);
    }
};

// The two readers of one specification.
class SpecificationReader {
public:
    SpecificationReader(const Asked& asked, Solver& solver, const Graph& graph, std::int64_t i, std::int64_t max_states)
        : asked_(asked),
          question_(asked.question),
          solver_(solver),
          i_(i),
          max_states_(max_states),
          length_(question_.lengths[i]),
          solvable_(has_programs(graph)),
          posterior_(graph, asked.prior),
          drawing_(asked.prior, worlds()),
          tallies_(asked.tallies()) {
        int most = 0;
        for (int j = 0; j < question_.offsets; ++j) most = std::max(most, asked.rest(j));
        at_least_ = posterior_.at_least(most);
    }

    void with_prefix(const Answers& answers) {
        std::int32_t node = solvable_ ? 0 : -1;
        double by_posterior = 1.0 - question_.doubt, by_prior = question_.doubt;
        std::vector<std::vector<std::int32_t>> here(static_cast<std::size_t>(question_.meanings));
        for (int m = 0; m < question_.meanings; ++m) {
            for (int e = 0; e < question_.examples; ++e) here[static_cast<std::size_t>(m)].push_back(walk(m, e).first());
        }
        for (int k = 0; k < length_; ++k) {
            for (int m = 0; m < question_.meanings; ++m) {
                for (int e = 0; e < question_.examples; ++e) {
                    std::int32_t& state = here[static_cast<std::size_t>(m)][static_cast<std::size_t>(e)];
                    if (state == WorldStates::stopped) continue;
                    look_ahead(answers, k, m, e, node, state, by_posterior, by_prior);
                    state = walk(m, e).next(state, asked_.program(i_)[k]);
                }
            }
            const std::size_t written = asked_.program(i_)[k];
            by_prior *= drawing_.step(written);
            if (node < 0) continue;
            by_posterior *= posterior_.chance(node, written);
            node = posterior_.child(node, written);
        }
    }

    void without_prefix(const Answers& answers) {
        Prior by_weight = asked_.prior;
        by_weight.avoid_noops = false;  // the worlds together pass through too many states
        Drawing drawing(by_weight, {});
        for (int m = 0; m < question_.meanings; ++m) {
            for (int e = 0; e < question_.examples; ++e) {
                const Walk way = walk(m, e);
                Front ours, theirs{{0, way.first(), 1.0}};
                if (solvable_) ours = theirs;
                for (int t = 0; t <= length_ - question_.rest; ++t) {
                    if (t > 0) {
                        advance(posterior_, way, ours, spare_, table_);
                        advance(drawing, way, theirs, spare_, table_);
                        check_size(ours.size() + theirs.size(), t);
                    }
                    for (int j = 0; j < question_.offsets; ++j) {
                        const int k = t - 1 - question_.offset[j];
                        if (k < 0 || k >= length_ || !labelled(k, m, j, e)) continue;
                        const int rest = asked_.rest(j);
                        weigh(e, way, ours, 1.0 - question_.doubt, rest, theirs, question_.doubt * asked_.at_least(t + rest));
                        answer(answers, k, m, j, e);
                    }
                }
            }
        }
    }

private:
    std::vector<WorldStates*> worlds() {
        std::vector<WorldStates*> found;
        for (int e = 0; e < question_.examples; ++e) found.push_back(&solver_.world(e));
        return found;
    }
    Walk walk(int meaning, int e) { return {solver_.world(e), asked_.performed(meaning), asked_.poses, asked_.states.levels}; }

    bool labelled(int k, int meaning, int j, int e) const {
        for (int f = 0; f < asked_.states.features; ++f) {
            if (asked_.label(i_, k, meaning, j, f, e) >= 0) return true;
        }
        return false;
    }

    void check_size(std::size_t ways, int t) const {
        if (static_cast<std::int64_t>(ways) > max_states_) {
            reject(i_, "programs of " + std::to_string(t) + " actions lead to more than max_states = " + std::to_string(max_states_) +
                           " pairs of states under two meanings; raise max_states if there is memory");
        }
    }

    void look_ahead(const Answers& answers, int k, int m, int e, std::int32_t node, std::int32_t state, double by_posterior,
                    double by_prior) {
        int farthest = -1;
        for (int j = 0; j < question_.offsets; ++j) {
            if (!labelled(k, m, j, e)) continue;
            farthest = std::max(farthest, question_.offset[j]);
            if (question_.offset[j] >= 0) continue;
            for (int f = 0; f < asked_.states.features; ++f) {  // what was written tells these states
                answers.right[asked_.row(i_, k, m, j) + static_cast<std::size_t>(f)] += asked_.label(i_, k, m, j, f, e) >= 0;
            }
        }
        const Walk way = walk(m, e);
        Front ours, theirs{{0, state, 1.0}};
        if (node >= 0) ours.push_back({node, state, 1.0});
        for (int offset = 0; offset <= farthest; ++offset) {
            advance(posterior_, way, ours, spare_, table_);
            advance(drawing_, way, theirs, spare_, table_);
            for (int j = 0; j < question_.offsets; ++j) {
                if (question_.offset[j] != offset || !labelled(k, m, j, e)) continue;
                const int rest = question_.rest;
                weigh(e, way, ours, by_posterior, rest, theirs, by_prior * asked_.at_least(k + 1 + offset + rest));
                answer(answers, k, m, j, e);
            }
        }
    }

    // Fills the tallies; where neither kind of reader thinks it possible, by the second alone.
    void weigh(int e, const Walk& way, const Front& ours, double our_scale, int rest, const Front& theirs, double their_scale) {
        const std::vector<double>& enough = at_least_[static_cast<std::size_t>(rest)];
        double total = 0.0;
        for (const Way& w : theirs) total += w.weight * their_scale;
        for (const Way& w : ours) total += w.weight * our_scale * enough[static_cast<std::size_t>(w.context)];
        if (total <= 0.0) their_scale = 1.0;
        const std::int64_t world = i_ * question_.examples + e;
        for (std::size_t f = 0; f < tallies_.size(); ++f) {
            const std::int16_t* const codes = asked_.codes(world, static_cast<int>(f));
            tallies_[f].clear();
            for (const Way& w : ours) tallies_[f].add(codes[way.place(w.state)], w.weight * our_scale * enough[static_cast<std::size_t>(w.context)]);
            for (const Way& w : theirs) tallies_[f].add(codes[way.place(w.state)], w.weight * their_scale);
        }
    }

    void answer(const Answers& answers, int k, int m, int j, int e) {
        for (std::size_t f = 0; f < tallies_.size(); ++f) {
            const std::int16_t actual = asked_.label(i_, k, m, j, static_cast<int>(f), e);
            const std::size_t at = asked_.row(i_, k, m, j) + f;
            if (actual >= 0) tallies_[f].answer(actual, 0.0, answers.right[at], answers.loss[at]);
        }
    }

    const Asked& asked_;
    const Question& question_;
    Solver& solver_;
    const std::int64_t i_, max_states_;
    const int length_;
    const bool solvable_;
    const Posterior posterior_;
    Drawing drawing_;
    std::vector<Tally> tallies_;
    std::vector<std::vector<double>> at_least_;
    Front spare_;
    IndexTable table_;
};

// The reader of prefixes: one thread's worlds that it expects. Programs come sorted, so that what is known of a prefix serves all
// that begin with it.
class PrefixReader {
public:
    PrefixReader(const Asked& asked, std::int64_t max_states)
        : asked_(asked),
          question_(asked.question),
          pool_(asked.specifications),
          max_states_(max_states),
          worlds_(static_cast<std::size_t>(pool_.count * pool_.examples)),
          states_(static_cast<std::size_t>(question_.width) + 1),
          chances_(static_cast<std::size_t>(question_.width) + 1) {
        for (int j = 0; j < question_.offsets; ++j) farthest_ = std::max(farthest_, question_.offset[j]);
        for (int k = 0; k < question_.width * question_.meanings * question_.offsets; ++k) tallies_.push_back(asked.tallies());
        counted_.assign(static_cast<std::size_t>(question_.width * question_.meanings), false);
        local_ = asked.tallies();
        begin();
        for (std::int64_t s = 0; s < pool_.count; ++s) {
            std::vector<WorldStates*> own;
            for (int e = 0; e < pool_.examples; ++e) own.push_back(&worlds_[static_cast<std::size_t>(s * pool_.examples + e)]);
            drawings_.emplace_back(asked.prior, std::move(own));
        }
    }

    void read(std::int64_t i, const Answers& answers) {
        forget_if_many();
        const std::uint8_t* const program = asked_.program(i);
        const int length = question_.lengths[i];
        int same = 0;
        while (same < length && same < static_cast<int>(written_.size()) && program[same] == written_[static_cast<std::size_t>(same)]) ++same;
        written_.assign(program, program + length);
        std::fill(counted_.begin() + (same + 1) * question_.meanings, counted_.end(), false);
        for (int t = same + 1; t <= length; ++t) walk_on(t);
        int stand = -1;  // where the drawings are
        for (int k = 0; k < length; ++k) {
            for (int m = 0; m < question_.meanings; ++m) {
                if (!labelled(i, k, m)) continue;
                const auto at = static_cast<std::size_t>(k * question_.meanings + m);
                if (!counted_[at]) {
                    if (asked_.prior.avoid_noops) go_to(k, stand);
                    count(k, m);
                    counted_[at] = true;
                }
                for (int j = 0; j < question_.offsets; ++j) answer(answers, i, k, m, j);
            }
        }
    }

private:
    // A share of what a feature says at an offset.
    struct Share {
        std::uint16_t offset, feature;
        std::int16_t code;
        double weight;
    };
    struct Shares {
        std::vector<std::int32_t> starts;  // by state: where its shares begin, -1 if they are not known
        std::vector<Share> all;            // each state's, ended by one whose code is -1
    };

    // Forgets all states.
    void begin() {
        const std::int64_t cells = static_cast<std::int64_t>(pool_.height) * pool_.width;
        std::array<bool, action_count> possible;
        possible.fill(true);
        for (std::int64_t w = 0; w < pool_.count * pool_.examples; ++w) {
            const Example example{pool_.height,
                                  pool_.width,
                                  pool_.walls + w * cells,
                                  pool_.markers + w * cells,
                                  pool_.robot + 3 * w,
                                  pool_.out_walls + w * cells,
                                  pool_.out_markers + w * cells,
                                  pool_.out_robot + 3 * w};
            worlds_[static_cast<std::size_t>(w)].begin(example, possible);
        }
        written_.clear();
        counted_.assign(counted_.size(), false);
        shares_.assign(static_cast<std::size_t>(question_.meanings) * worlds_.size(), Shares{});
        states_[0].clear();
        for (int m = 0; m < question_.meanings; ++m) {
            for (std::size_t w = 0; w < worlds_.size(); ++w) states_[0].push_back(walk(m, w).first());
        }
        chances_[0].assign(static_cast<std::size_t>(pool_.count), 1.0);
    }

    // The states met stay for the programs to come, as long as there is room.
    void forget_if_many() {
        std::int64_t met = 0;
        for (const WorldStates& world : worlds_) met += world.size();
        if (met > max_states_) begin();
    }

    Walk walk(int meaning, std::size_t w) { return {worlds_[w], asked_.performed(meaning), asked_.poses, asked_.states.levels}; }

    std::int32_t state(int t, int meaning, std::size_t w) const {
        return states_[static_cast<std::size_t>(t)][static_cast<std::size_t>(meaning) * worlds_.size() + w];
    }

    // The states after t actions, from those after one less.
    void walk_on(int t) {
        auto& now = states_[static_cast<std::size_t>(t)];
        now = states_[static_cast<std::size_t>(t) - 1];
        for (int m = 0; m < question_.meanings; ++m) {
            for (std::size_t w = 0; w < worlds_.size(); ++w) {
                std::int32_t& there = now[static_cast<std::size_t>(m) * worlds_.size() + w];
                if (there != WorldStates::stopped) there = walk(m, w).next(there, written_[static_cast<std::size_t>(t) - 1]);
            }
        }
        chances_[static_cast<std::size_t>(t)].assign(chances_[0].size(), -1.0);  // not known
    }

    // Moves the drawings, which the worlds decide, to the prefix of k actions.
    void go_to(int k, int& stand) {
        for (std::size_t s = 0; s < drawings_.size(); ++s) {
            if (stand < 0) drawings_[s].restart();
            for (int t = std::max(stand, 0); t < k; ++t) {
                const double before = chances_[static_cast<std::size_t>(t)][s];
                chances_[static_cast<std::size_t>(t) + 1][s] = before * drawings_[s].step(written_[static_cast<std::size_t>(t)]);
            }
        }
        stand = k;
    }

    std::vector<Tally>& tallies(int k, int m, int j) {
        return tallies_[static_cast<std::size_t>((k * question_.meanings + m) * question_.offsets + j)];
    }

    bool labelled(std::int64_t i, int k, int m) const {
        const std::size_t start = asked_.row(i, k, m, 0) * static_cast<std::size_t>(question_.examples);
        const std::size_t stop = start + static_cast<std::size_t>(question_.offsets * asked_.states.features * question_.examples);
        return std::any_of(question_.labels + start, question_.labels + stop, [](std::int16_t label) { return label >= 0; });
    }

    // Fills the tallies of the prefix of k actions.
    void count(int k, int m) {
        for (int j = 0; j < question_.offsets; ++j) {
            for (Tally& tally : tallies(k, m, j)) tally.clear();
        }
        double total = 0.0;
        if (asked_.prior.avoid_noops) {
            for (const double chance : chances_[static_cast<std::size_t>(k)]) total += chance;
        }
        const auto examples = static_cast<std::size_t>(pool_.examples);
        for (std::size_t s = 0; s < drawings_.size(); ++s) {
            // Without regard to what actions change, or if no world expected allows the prefix, all worlds are alike.
            const double weight = total > 0.0 ? chances_[static_cast<std::size_t>(k)][s] / total : 1.0 / static_cast<double>(pool_.count);
            if (weight <= 0.0) continue;
            for (std::size_t w = s * examples; w < (s + 1) * examples; ++w) look_back(k, m, w, weight);
            for (std::size_t w = s * examples; w < (s + 1) * examples; ++w) look_ahead(k, m, w, drawings_[s], weight);
        }
    }

    void look_back(int k, int m, std::size_t w, double weight) {
        for (int j = 0; j < question_.offsets; ++j) {
            const int t = k + 1 + question_.offset[j];
            if (question_.offset[j] >= 0 || t < 0 || state(t, m, w) == WorldStates::stopped) continue;
            const std::size_t place = walk(m, w).place(state(t, m, w));
            auto& all = tallies(k, m, j);
            for (std::size_t f = 0; f < all.size(); ++f) all[f].add(codes(w, f)[place], weight);
        }
    }

    void look_ahead(int k, int m, std::size_t w, Drawing& drawing, double weight) {
        const std::int32_t from = state(k, m, w);
        if (from == WorldStates::stopped || farthest_ < 0) return;
        const Walk way = walk(m, w);
        if (asked_.prior.avoid_noops) {
            spread(way, w, drawing, from, [&](int j, std::size_t f, std::int16_t code, double share) {
                tallies(k, m, j)[f].add(code, weight * share);
            });
            return;
        }
        Shares& known = shares_[static_cast<std::size_t>(m) * worlds_.size() + w];
        const auto at = static_cast<std::size_t>(from);
        if (known.starts.size() <= at) known.starts.resize(at + 1, -1);
        if (known.starts[at] < 0) {
            known.starts[at] = static_cast<std::int32_t>(known.all.size());
            spread(way, w, drawing, from, [&](int j, std::size_t f, std::int16_t code, double share) {
                known.all.push_back({static_cast<std::uint16_t>(j), static_cast<std::uint16_t>(f), code, share});
            });
            known.all.push_back({0, 0, -1, 0.0});
        }
        for (const Share* share = known.all.data() + known.starts[at]; share->code >= 0; ++share) {
            tallies(k, m, share->offset)[share->feature].add(share->code, weight * share->weight);
        }
    }

    // Calls found(offset, feature, code, share) for what may come, from a state on.
    template <class Found>
    void spread(const Walk& way, std::size_t w, Drawing& drawing, std::int32_t from, Found&& found) {
        front_.assign(1, {0, from, 1.0});
        for (int offset = 0; offset <= farthest_; ++offset) {
            advance(drawing, way, front_, spare_, table_);
            for (int j = 0; j < question_.offsets; ++j) {
                if (question_.offset[j] != offset) continue;
                for (std::size_t f = 0; f < local_.size(); ++f) {
                    local_[f].clear();
                    for (const Way& there : front_) local_[f].add(codes(w, f)[way.place(there.state)], there.weight);
                    local_[f].each([&](std::int16_t code, double share) { found(j, f, code, share); });
                }
            }
        }
    }

    const std::int16_t* codes(std::size_t w, std::size_t f) const {
        return asked_.codes(static_cast<std::int64_t>(w), static_cast<int>(f));
    }

    void answer(const Answers& answers, std::int64_t i, int k, int m, int j) {
        const auto& all = tallies(k, m, j);
        const double one_world = 1.0 / static_cast<double>(pool_.count);
        for (std::size_t f = 0; f < all.size(); ++f) {
            const std::size_t at = asked_.row(i, k, m, j) + f;
            for (int e = 0; e < question_.examples; ++e) {
                const std::int16_t actual = asked_.label(i, k, m, j, static_cast<int>(f), e);
                if (actual >= 0) all[f].answer(actual, one_world, answers.right[at], answers.loss[at]);
            }
        }
    }

    const Asked& asked_;
    const Question& question_;
    const Specifications& pool_;
    const std::int64_t max_states_;
    int farthest_ = -1;                  // offset
    std::vector<WorldStates> worlds_;    // of all the pool's specifications
    std::vector<Drawing> drawings_;      // (specifications,)
    std::vector<Shares> shares_;         // (meanings, worlds)
    std::vector<std::uint8_t> written_;  // the last program
    std::vector<std::vector<std::int32_t>> states_;  // (actions so far, meanings * worlds) of it
    std::vector<std::vector<double>> chances_;       // (actions so far, specifications): the prior chance of these actions
    std::vector<bool> counted_;                      // (actions so far, meanings): whether the tallies are filled
    std::vector<std::vector<Tally>> tallies_;        // (actions so far, meanings, offsets), features
    std::vector<Tally> local_;
    Front front_, spare_;
    IndexTable table_;
};

}  // namespace

bool read_specifications(const Specifications& specifications, const Prior& prior, const StateCodes& states,
                         const Question& question, std::int64_t max_states, int threads, const Answers& with_prefix,
                         const Answers& without_prefix, Interrupt& interrupt) {
    const Asked asked(specifications, prior, states, question);
    asked.clear(with_prefix);
    asked.clear(without_prefix);
    return for_each(specifications, prior, max_states, threads, interrupt, 0, question.count, [&](Solver& solver, Graph& graph, std::int64_t i) {
        if (!question.lengths[i]) return;
        solver.build(specifications.shown, graph);
        graph.keep_live();
        SpecificationReader reader(asked, solver, graph, i, max_states);
        reader.with_prefix(with_prefix);
        reader.without_prefix(without_prefix);
    });
}

bool read_prefixes(const Specifications& pool, const Prior& prior, const StateCodes& states, const Question& question,
                   std::int64_t max_states, int threads, const Answers& answers, Interrupt& interrupt) {
    const Asked asked(pool, prior, states, question);
    asked.clear(answers);
    std::vector<std::int64_t> order(static_cast<std::size_t>(question.count));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        const std::uint8_t *const ours = asked.program(a), *const theirs = asked.program(b);
        return std::lexicographical_compare(ours, ours + question.lengths[a], theirs, theirs + question.lengths[b]);
    });
    // Every piece begins with the pool's worlds anew, so there are few.
    const std::int64_t grain = std::max<std::int64_t>(16, (question.count + 2 * threads - 1) / (2 * threads));
    return parallel_for(question.count, grain, threads, interrupt, [&](std::int64_t begin, std::int64_t end, const Worker& worker) {
        PrefixReader reader(asked, max_states);
        for (std::int64_t at = begin; at < end; ++at) {
            if (worker.stopped()) return;
            reader.read(order[static_cast<std::size_t>(at)], answers);
        }
    });
}

}  // namespace karel
