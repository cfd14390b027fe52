#include <algorithm>
#include <vector>

#include "ceiling_parts.hpp"
#include "solver_search.hpp"

namespace karel {
namespace {

// The two readers of one specification.
class SpecificationReader {
public:
    SpecificationReader(const Asked& asked, Solver& solver, const Graph& graph, std::int64_t i, std::int64_t max_states)
        : asked_(asked),
          question_(asked.question),
          solver_(solver),
          worker_(solver.worker()),
          i_(i),
          max_states_(max_states),
          length_(question_.lengths[i]),
          solvable_(has_programs(graph)),
          posterior_(graph, asked.prior),
          drawing_(asked.prior, worlds()),
          tallies_(asked.tallies()) {
        int most = 0;
        for (int j = 0; j < question_.offsets; ++j) most = std::max(most, asked.rest(j));
        // A label of the past says that as many actions follow as the offset goes back, which are no more than were written.
        at_least_ = posterior_.at_least(std::min(most, std::max(question_.width, 1)));
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
                    look_back(answers, k, m, e);
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
                        advance(posterior_, way, ours, spare_, table_, worker_);
                        advance(drawing, way, theirs, spare_, table_, worker_);
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
            reject(i_, "programs of " + std::to_string(t) + " actions lead to more than max_states = " +
                           std::to_string(max_states_) + " pairs of states under two meanings; raise max_states if there is memory");
        }
    }

    // What was written tells the states that were passed, however the run went on.
    void look_back(const Answers& answers, int k, int m, int e) {
        for (int j = 0; j < question_.offsets; ++j) {
            if (question_.offset[j] >= 0) continue;
            for (int f = 0; f < asked_.states.features; ++f) {
                answers.right[asked_.row(i_, k, m, j) + static_cast<std::size_t>(f)] += asked_.label(i_, k, m, j, f, e) >= 0;
            }
        }
    }

    void look_ahead(const Answers& answers, int k, int m, int e, std::int32_t node, std::int32_t state, double by_posterior,
                    double by_prior) {
        int farthest = -1;
        for (int j = 0; j < question_.offsets; ++j) {
            if (labelled(k, m, j, e)) farthest = std::max(farthest, question_.offset[j]);
        }
        const Walk way = walk(m, e);
        Front ours, theirs{{0, state, 1.0}};
        if (node >= 0) ours.push_back({node, state, 1.0});
        for (int offset = 0; offset <= farthest; ++offset) {
            advance(posterior_, way, ours, spare_, table_, worker_);
            advance(drawing_, way, theirs, spare_, table_, worker_);
            check_size(ours.size() + theirs.size(), k + 1 + offset);
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
            for (const Way& w : ours) {
                tallies_[f].add(codes[way.place(w.state)], w.weight * our_scale * enough[static_cast<std::size_t>(w.context)]);
            }
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
    const Worker& worker_;
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

}  // namespace

bool read_specifications(const Specifications& specifications, const Prior& prior, const StateCodes& states,
                         const Question& question, std::int64_t max_states, int threads, const Answers& with_prefix,
                         const Answers& without_prefix, Interrupt& interrupt) {
    const Asked asked(specifications, prior, states, question);
    asked.clear(with_prefix);
    asked.clear(without_prefix);
    const auto work = [&](Solver& solver, Graph& graph, std::int64_t i) {
        if (!question.lengths[i]) return;
        solver.build(specifications.shown, graph);
        graph.keep_live();
        SpecificationReader reader(asked, solver, graph, i, max_states);
        reader.with_prefix(with_prefix);
        reader.without_prefix(without_prefix);
    };
    return for_each(specifications, prior, max_states, threads, interrupt, 0, question.count, work);
}

}  // namespace karel
