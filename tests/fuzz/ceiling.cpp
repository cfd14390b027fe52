// Fuzzes the ideal readers of states: any specifications, written programs, features and labels. Every answer lies where it can, is the
// same bits whatever the threads, and a reader with no doubt never holds what a satisfying program does to be impossible.
#include <cmath>
#include <stdexcept>

#include "../../csrc/karel/ceiling.hpp"
#include "specifications.hpp"

namespace {

using namespace karel;
using fuzz::Arrays;
using fuzz::Bytes;
using fuzz::Exact;
using fuzz::Plain;
using fuzz::drawn_specifications;
using fuzz::room;

constexpr int longest_written = 6;
constexpr std::int64_t most_states = 4000;

// What each feature calls every state of every world: codes that depend on the place alone.
struct Features {
    int levels;
    Exact<std::int32_t> heads, classes;
    std::vector<std::int64_t> labels;  // how many each has
    std::uint64_t salt;

    Features(Bytes& bytes, std::size_t count) : levels(static_cast<int>(bytes.from(1, 3))), heads(count), classes(count), salt(bytes.byte()) {
        for (std::size_t f = 0; f < count; ++f) {
            heads[f] = static_cast<std::int32_t>(bytes.from(1, 3));
            classes[f] = static_cast<std::int32_t>(bytes.from(1, 5));
            labels.push_back(static_cast<std::int64_t>(std::pow(classes[f], heads[f]) + 0.5));
        }
    }
    // Now and then a state has none.
    std::int16_t code(std::size_t feature, std::int64_t place) const {
        const auto drawn = static_cast<std::int64_t>((static_cast<std::uint64_t>(place) * 2654435761u + salt + 97 * feature) >> 4);
        return static_cast<std::int16_t>(drawn % 16 == 0 ? -1 : drawn % labels[feature]);
    }
    std::int64_t places(const Arrays& all) const { return all.cells * 4 * levels; }
    std::int64_t place(const Plain& world) const {
        const std::int64_t cell = static_cast<std::int64_t>(world.row) * world.all->width + world.column;
        return (cell * 4 + world.direction) * levels + std::min<std::int64_t>(world.markers[room(cell)], levels - 1);
    }
};

// The codes of some specifications' worlds.
struct Codes {
    Exact<std::int16_t> codes;
    StateCodes states;

    Codes(const Arrays& all, const Features& features)
        : codes(room(all.worlds * features.places(all)) * features.heads.size),
          states{static_cast<int>(features.heads.size), features.levels, features.heads.get(), features.classes.get(), codes.get()} {
        const std::int64_t places = features.places(all);
        for (std::size_t at = 0; at < codes.size; ++at) {
            const auto row = static_cast<std::int64_t>(at) / places;
            codes[at] = features.code(room(row % states.features), static_cast<std::int64_t>(at) % places);
        }
    }
};

struct Asking {
    Exact<std::uint8_t> actions, performed;
    Exact<std::int32_t> lengths, offset;
    Exact<std::int16_t> labels;
    Question question;
    bool honest = true;  // labels say what is so

    Asking(Bytes& bytes, const Arrays& all, const Prior& prior, const Features& features, std::size_t meanings, std::size_t offsets)
        : actions(room(all.count * prior.longest)), performed(meanings * action_count), lengths(room(all.count)), offset(offsets),
          labels(room(all.worlds * prior.longest) * meanings * offsets * features.heads.size),
          question{all.count, all.examples, prior.longest, actions.get(), lengths.get(), static_cast<int>(meanings), performed.get(),
                   static_cast<int>(offsets), offset.get(), static_cast<int>(bytes.from(0, 1)),
                   static_cast<double>(bytes.from(0, 2)) / 2, labels.get()} {
        for (std::size_t at = 0; at < performed.size; ++at) performed[at] = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
        if (bytes.byte() & 1) std::copy_n(prior.performed.begin(), action_count, performed.get());
        for (std::size_t j = 0; j < offsets; ++j) offset[j] = static_cast<std::int32_t>(bytes.from(-3, 3));
        for (std::size_t i = 0; i < lengths.size; ++i) lengths[i] = static_cast<std::int32_t>(bytes.from(0, prior.longest));
        for (std::size_t at = 0; at < actions.size; ++at) actions[at] = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
        for (std::int64_t i = 0; i < all.count && bytes.byte() % 4 != 0; ++i) {
            lengths[room(i)] = static_cast<std::int32_t>(all.written.size());
            std::copy(all.written.begin(), all.written.end(), actions.get() + i * prior.longest);
        }
        honest = bytes.byte() < 250;
        std::fill_n(labels.get(), labels.size, std::int16_t{-1});
        for (std::int64_t i = 0; i < all.count; ++i) {
            for (std::size_t m = 0; m < meanings; ++m) {
                for (int e = 0; e < all.examples; ++e) label(bytes, all, features, i, m, e);
            }
        }
    }

    std::size_t row(std::int64_t i, std::int64_t k, std::size_t m, std::size_t j, std::size_t features) const {
        return ((room(i * question.width + k) * room(question.meanings) + m) * room(question.offsets) + j) * features;
    }

private:
    // What is so in one world before every action and after the last.
    void label(Bytes& bytes, const Arrays& all, const Features& features, std::int64_t i, std::size_t m, int e) {
        Plain world(all, i * all.examples + e);
        for (std::int64_t t = 0; t <= lengths[room(i)] && !world.stopped; ++t) {
            if (t > 0) world.act(performed[m * action_count + actions[room(i * question.width + t - 1)]]);
            if (world.stopped || t > lengths[room(i)] - question.rest) return;
            for (std::size_t j = 0; j < offset.size; ++j) {
                const std::int64_t k = t - 1 - offset[j];
                if (k < 0 || k >= lengths[room(i)]) continue;
                for (std::size_t f = 0; f < features.heads.size; ++f) {
                    const std::size_t at = (row(i, k, m, j, features.heads.size) + f) * room(all.examples) + room(e);
                    labels[at] = honest ? features.code(f, features.place(world)) : static_cast<std::int16_t>(bytes.from(0, features.labels[f] - 1));
                }
            }
        }
    }
};

struct Read {
    Exact<double> right, loss;
    explicit Read(std::size_t rows) : right(rows), loss(rows) {}
    Answers answers() const { return {right.get(), loss.get()}; }
};

void check_range(const Read& read, const Asking& asking, int examples, bool finite) {
    for (std::size_t at = 0; at < read.right.size; ++at) {
        int known = 0;
        for (int e = 0; e < examples; ++e) known += asking.labels[at * room(examples) + room(e)] >= 0;
        if (!(read.right[at] >= 0 && read.right[at] <= known + 1e-9)) fuzz::differs("more is right than is asked");
        if (!(read.loss[at] >= 0) || (known == 0 && read.loss[at] != 0)) fuzz::differs("the loss");
        if (finite && !std::isfinite(read.loss[at])) fuzz::differs("what happens is held to be impossible");
    }
}

void same(const Read& one, const Read& other) {
    if (!std::equal(one.right.get(), one.right.get() + one.right.size, other.right.get()) ||
        !std::equal(one.loss.get(), one.loss.get() + one.loss.size, other.loss.get())) {
        fuzz::differs("answers of two threads");
    }
}

// Whether what is written can have been drawn, and does what the outputs show.
bool satisfies(const Arrays& all, const Prior& prior, const Asking& asking, std::int64_t i) {
    const int length = asking.lengths[room(i)];
    if (prior.avoid_noops || length < prior.shortest) return false;
    for (int e = 0; e < all.examples; ++e) {
        Plain world(all, i * all.examples + e);
        for (int t = 0; t < length; ++t) {
            const std::uint8_t written = asking.actions[room(i * prior.longest + t)];
            if (prior.weights[written] == 0) return false;
            world.act(prior.performed[written]);
        }
        if (!world.looks_like_output()) return false;
    }
    return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    const int height = static_cast<int>(bytes.from(3, 6)), width = static_cast<int>(bytes.from(3, 6));
    const int examples = static_cast<int>(bytes.from(1, 3));
    Prior prior{};
    prior.shortest = static_cast<int>(bytes.from(0, longest_written));
    prior.longest = prior.shortest + static_cast<int>(bytes.from(0, longest_written - prior.shortest));
    std::uint32_t total = 0;
    for (auto& weight : prior.weights) total += weight = static_cast<std::uint32_t>(bytes.from(0, 6));
    for (auto& performed : prior.performed) performed = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
    prior.avoid_noops = bytes.byte() & 1;
    if (total == 0) return 0;  // refused before it comes to the core

    const Features features(bytes, room(bytes.from(1, 2)));
    const std::size_t meanings = room(bytes.from(1, 2)), offsets = room(bytes.from(1, 3));
    const Arrays all = drawn_specifications(bytes, examples, examples, height, width, prior, prior.longest, true);
    const Arrays pool = drawn_specifications(bytes, examples, examples, height, width, prior, prior.longest, true);
    const Asking asking(bytes, all, prior, features, meanings, offsets);
    const Codes codes(all, features), pool_codes(pool, features);
    const std::size_t rows = asking.row(all.count, 0, 0, 0, features.heads.size);
    bool finite = true;
    for (std::int64_t i = 0; i < all.count; ++i) finite = finite && satisfies(all, prior, asking, i);
    finite = finite && asking.honest;
    try {
        Interrupt interrupt(nullptr);
        const Read prefix(rows), blind(rows), expected(rows), prefix_again(rows), blind_again(rows), expected_again(rows);
        read_specifications(all.specifications(), prior, codes.states, asking.question, most_states, 1, prefix.answers(), blind.answers(), interrupt);
        read_specifications(all.specifications(), prior, codes.states, asking.question, most_states, 2, prefix_again.answers(), blind_again.answers(), interrupt);
        read_prefixes(pool.specifications(), prior, pool_codes.states, asking.question, most_states, 1, expected.answers(), interrupt);
        read_prefixes(pool.specifications(), prior, pool_codes.states, asking.question, most_states, 2, expected_again.answers(), interrupt);
        same(prefix, prefix_again);
        same(blind, blind_again);
        same(expected, expected_again);
        check_range(prefix, asking, examples, finite);
        check_range(blind, asking, examples, false);
        check_range(expected, asking, examples, false);
    } catch (const std::invalid_argument&) {
        // More states than it may keep.
    }
    return 0;
}
