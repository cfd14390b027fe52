#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "ceiling_parts.hpp"
#include "threads.hpp"

namespace karel {
namespace {

// The reader of prefixes: the worlds that it expects, for one piece of work. Programs come sorted, so that what is known of a prefix serves all
// that begin with it.
class PrefixReader {
public:
    PrefixReader(const Asked& asked, int farthest, std::int64_t max_states, const Worker& worker)
        : asked_(asked),
          worker_(worker),
          question_(asked.question),
          pool_(asked.specifications),
          max_states_(max_states),
          farthest_(farthest),
          worlds_(static_cast<std::size_t>(pool_.count * pool_.examples)),
          states_(static_cast<std::size_t>(question_.width) + 1),
          chances_(static_cast<std::size_t>(question_.width) + 1) {
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
        const int before = static_cast<int>(written_.size());
        while (same < std::min(length, before) && program[same] == written_[static_cast<std::size_t>(same)]) ++same;
        written_.assign(program, program + length);
        // A program of all K actions that was just read has no prefix left to fill.
        const int first = std::min(same + 1, question_.width);
        std::fill(counted_.begin() + first * question_.meanings, counted_.end(), false);
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
    // A share of what a feature says at the j-th offset.
    struct Share {
        std::uint16_t j, feature;
        std::int16_t code;
        double weight;
    };
    struct Shares {
        std::vector<std::int32_t> starts;  // by state: where its shares begin, -1 if they are not known
        std::vector<Share> all;            // each state's, ended by one whose code is -1
    };

    // Forgets all states.
    void begin() {
        std::array<bool, action_count> possible;
        possible.fill(true);
        for (std::int64_t w = 0; w < pool_.count * pool_.examples; ++w) {
            worlds_[static_cast<std::size_t>(w)].begin(example_of(pool_, w), possible);
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
            const double alike = 1.0 / static_cast<double>(pool_.count);
            const double weight = total > 0.0 ? chances_[static_cast<std::size_t>(k)][s] / total : alike;
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
            tallies(k, m, share->j)[share->feature].add(share->code, weight * share->weight);
        }
    }

    // Calls found(number of the offset, feature, code, share) for what may come, from a state on.
    template <class Found>
    void spread(const Walk& way, std::size_t w, Drawing& drawing, std::int32_t from, Found&& found) {
        front_.assign(1, {0, from, 1.0});
        for (int offset = 0; offset <= farthest_; ++offset) {
            advance(drawing, way, front_, spare_, table_, worker_);
            if (static_cast<std::int64_t>(front_.size()) > max_states_) {
                throw std::invalid_argument("offsets from " + std::to_string(offset) + " on: what may be written until then leads to more than max_states = " +
                                            std::to_string(max_states_) + " states; raise max_states if there is memory, or leave these offsets out");
            }
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
    const Worker& worker_;
    const Question& question_;
    const Specifications& pool_;
    const std::int64_t max_states_;
    const int farthest_;                 // offset that has a label
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
    const std::int64_t pieces = std::int64_t{2} * threads;
    const std::int64_t grain = std::max<std::int64_t>(16, (question.count + pieces - 1) / pieces);
    const int farthest = asked.farthest();
    return parallel_for(question.count, grain, threads, interrupt, [&](std::int64_t begin, std::int64_t end, const Worker& worker) {
        PrefixReader reader(asked, farthest, max_states, worker);
        for (std::int64_t at = begin; at < end; ++at) {
            worker.check();
            reader.read(order[static_cast<std::size_t>(at)], answers);
        }
    });
}

}  // namespace karel
