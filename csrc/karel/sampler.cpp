#include "sampler.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "symbols.hpp"
#include "world.hpp"

namespace karel {
namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;

constexpr int max_worlds = 200;
constexpr int max_depth = 8;
constexpr u32 max_length = 200;

constexpr int symbols_per_statement = 8;  // ifelse, not, a condition, two pairs of braces and else

constexpr int values_per_block = 8;
constexpr int ready_program_blocks = 2;  // 16 values: enough for most programs of the paper's lengths

u32 program_hash(const u8* symbols, int length) {
    u64 h = 0xCBF29CE484222325;
    for (int i = 0; i < length; ++i) h = (h ^ symbols[i]) * 0x100000001B3;
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD;
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53;
    return static_cast<u32>((h ^ h >> 33) >> 32);
}

// The robots of one sample's worlds: linear cell index and direction each.
struct Robots {
    int cell[max_worlds];
    u8 direction[max_worlds];
};

// Draws samples one after the other into memory given to it; one per thread.
class Drawer {
public:
    Drawer(const Plan& plan, int worlds, const Worker& worker)
        : plan_(plan), worker_(worker), worlds_(worlds), rows_(plan.height - 2), cols_(plan.width - 2), cells_(plan.height * plan.width),
          key_{static_cast<u32>(plan.seed), static_cast<u32>(plan.seed >> 32)},
          blocks_((rows_ * cols_ + 1 + values_per_block - 1) / values_per_block), step_{-plan.width, 1, plan.width, -1} {
        const int used = worlds_ * blocks_ + ready_program_blocks;
        for (int e = 0; e < worlds_; ++e) {
            for (int b = 0; b < blocks_; ++b) addresses_.push_back({static_cast<u32>(b), static_cast<u32>(e), {}});
        }
        for (int b = 0; b < ready_program_blocks; ++b) addresses_.push_back({static_cast<u32>(b), program_stream, {}});
        addresses_.resize(static_cast<std::size_t>((used + philox_group - 1) / philox_group * philox_group), {});
        values_.resize(addresses_.size() * values_per_block + 16);
        cell_walls_.resize(static_cast<std::size_t>(rows_ * cols_ + 16));
        cell_markers_.resize(cell_walls_.size());
        if (plan.avoid_noops) tried_markers_.resize(static_cast<std::size_t>(plan.shown * cells_));
    }

    // Draws the worlds of a sample; the arrays point at its first world. Must come before `straight` for that sample.
    void worlds(i64 index, u8* walls, u8* markers, u8* robot) {
        at(index);
        philox_fill(key_, low_, high_, addresses_.data(), static_cast<int>(addresses_.size()), values_.data());
        const bool eight = plan_.width == 8 && plan_.height == 8;
        for (int e = 0; e < worlds_; ++e) {
            const auto place = static_cast<i64>(e) * cells_;
            if (eight) {
                world<8>(e, walls + place, markers + place, robot + 3 * e);
            } else {
                world<0>(e, walls + place, markers + place, robot + 3 * e);
            }
        }
    }

    // Draws the straight-line program of the sample whose worlds were just drawn. Returns its length, or -1.
    int straight(const u8* walls, const u8* markers, u8* symbols) {
        for (i64 attempt = 0; attempt < plan_.max_attempts; ++attempt) {
            look(attempt);
            const bool first = attempt == 0;
            Stream stream(key_, program_stream + static_cast<u32>(attempt), low_, high_,
                          first ? values_.data() + values_per_block * blocks_ * worlds_ : nullptr,
                          first ? values_per_block * ready_program_blocks : 0);
            const int length = actions(stream, walls, markers, symbols);
            if (in_split(symbols, length)) return finish(symbols, length);
        }
        return finish(symbols, -1);
    }

    // Draws a program with control flow. Returns its length, or -1, and the attempt that was used.
    int control_flow(i64 index, i64 attempt, u8* symbols, i64& used) {
        at(index);
        for (used = attempt; used < plan_.max_attempts; ++used) {
            look(used);
            Stream stream(key_, program_stream + static_cast<u32>(used), low_, high_);
            const int length = statements(stream, written_);
            if (length > plan_.symbol_width) throw std::logic_error("a program is longer than the plan's symbol width");
            if (!in_split(written_, length)) continue;
            std::memcpy(symbols, written_, static_cast<std::size_t>(length));
            return finish(symbols, length);
        }
        return finish(symbols, -1);
    }

    // Performs a program on all worlds of the sample, in place: `markers` and `robot` start as the inputs'.
    void perform(const u8* symbols, int length, const u8* walls, u8* markers, u8* robot) const {
        Robots now;
        copy_robots(now, worlds_);
        for (int k = 0; k < length; ++k) perform_one(plan_.performed[symbols[k]], worlds_, walls, markers, now);
        const int width = plan_.width;
        for (int e = 0; e < worlds_; ++e) {
            const int row = width == 8 ? now.cell[e] / 8 : now.cell[e] / width;
            robot[3 * e] = static_cast<u8>(row);
            robot[3 * e + 1] = static_cast<u8>(now.cell[e] - row * width);
            robot[3 * e + 2] = now.direction[e];
        }
    }

private:
    void at(i64 index) {
        low_ = static_cast<u32>(static_cast<u64>(index));
        high_ = static_cast<u32>(static_cast<u64>(index) >> 32) | plan_.split << 24;
    }

    bool in_split(const u8* symbols, int length) const {
        if (plan_.hash_first == 0 && plan_.hash_last > 0xFFFFFFFF) return true;
        const u64 hash = program_hash(symbols, length);
        return plan_.hash_first <= hash && hash < plan_.hash_last;
    }

    int finish(u8* symbols, int length) const {
        const int used = std::max(length, 0);
        std::memset(symbols + used, symbol_pad, static_cast<std::size_t>(plan_.symbol_width - used));
        return length;
    }

    // SIDE is the worlds' height and width if known when compiling, else 0.
    template <int SIDE>
    void world(int e, u8* walls, u8* markers, u8* robot) {
        const int height = SIDE ? SIDE : plan_.height, width = SIDE ? SIDE : plan_.width;
        const int rows = height - 2, cols = width - 2, inside = rows * cols;
        const u16* values = values_.data() + values_per_block * blocks_ * e;
        // Inclusive ends, so that they fit in 16 bits; where nothing is below an end, `any` masks the comparison out.
        const auto wall_last = static_cast<u16>(plan_.wall_end - 1), marker_last = static_cast<u16>(plan_.marker_end - 1);
        const u8 any_wall = plan_.wall_end > 0, any = plan_.marker_end > 0;
        u8* cell_walls = cell_walls_.data();
        u8* cell_markers = cell_markers_.data();
        const int drawn = SIDE ? (SIDE - 2) * (SIDE - 2) / values_per_block * values_per_block + values_per_block : inside;
        for (int i = 0; i < drawn; ++i) {  // a few more than the cells, so that no remainder is left to vectorize
            const u8 wall = static_cast<u8>(values[i] <= wall_last) & any_wall;
            cell_walls[i] = wall;
            cell_markers[i] = (static_cast<u8>(values[i] <= marker_last) & any) ^ wall;
        }
        std::memset(walls, 1, static_cast<std::size_t>(width));
        std::memset(markers, 0, static_cast<std::size_t>(width));
        for (int row = 0; row < rows; ++row) {
            spread<SIDE>(cell_walls + row * cols, walls + (row + 1) * width, width, 1);
            spread<SIDE>(cell_markers + row * cols, markers + (row + 1) * width, width, 0);
        }
        std::memset(walls + (height - 1) * width, 1, static_cast<std::size_t>(width));
        std::memset(markers + (height - 1) * width, 0, static_cast<std::size_t>(width));

        Stream stream(key_, static_cast<u32>(e), low_, high_, values, values_per_block * blocks_);
        stream.skip(inside);
        const u32 pose = stream.below(4 * static_cast<u32>(inside));
        const int cell = static_cast<int>(pose >> 2);
        const int row = 1 + cell / cols, col = 1 + cell % cols, place = row * width + col;
        walls[place] = 0;
        markers[place] = 0;
        robot[0] = static_cast<u8>(row);
        robot[1] = static_cast<u8>(col);
        robot[2] = static_cast<u8>(pose & 3);
        robots_.cell[e] = place;
        robots_.direction[e] = static_cast<u8>(pose & 3);
    }

    // One row of interior cells between two ring cells. `from` may be read up to eight bytes far.
    template <int SIDE>
    static void spread(const u8* from, u8* to, int width, u8 ring) {
        if constexpr (SIDE == 8 && std::endian::native == std::endian::little) {
            u64 line;
            std::memcpy(&line, from, 8);
            const u64 ends = u64{ring} << 56 | ring;
            line = (line << 16 >> 8) | ends;
            std::memcpy(to, &line, 8);
        } else {
            to[0] = to[width - 1] = ring;
            std::memcpy(to + 1, from, static_cast<std::size_t>(width - 2));
        }
    }

    int actions(Stream& stream, const u8* walls, const u8* markers, u8* symbols) {
        const int length = static_cast<int>(plan_.shortest + stream.below(plan_.longest - plan_.shortest + 1));
        const auto ends = cumulative(plan_.action_weights);
        if (!plan_.avoid_noops) {
            for (int k = 0; k < length; ++k) symbols[k] = static_cast<u8>(stream.weighted(ends.data(), action_count));
            return length;
        }
        Robots now;
        copy_robots(now, plan_.shown);
        std::copy_n(markers, tried_markers_.size(), tried_markers_.data());
        for (int k = 0; k < length; ++k) {
            const auto useful = cumulative(useful_weights(walls, now));
            symbols[k] = static_cast<u8>(stream.weighted(useful.back() ? useful.data() : ends.data(), action_count));
            perform_one(plan_.performed[symbols[k]], plan_.shown, walls, tried_markers_.data(), now);
        }
        return length;
    }

    template <std::size_t N>
    static std::array<u32, N> cumulative(std::array<u32, N> weights) {
        for (std::size_t i = 1; i < N; ++i) weights[i] += weights[i - 1];
        return weights;
    }

    void copy_robots(Robots& to, int count) const {
        std::copy_n(robots_.cell, count, to.cell);
        std::copy_n(robots_.direction, count, to.direction);
    }

    // The action weights, but 0 for actions that would change none of the shown worlds as they now are.
    std::array<u32, action_count> useful_weights(const u8* walls, const Robots& now) const {
        bool can_move = false, can_pick = false;
        for (int e = 0; e < plan_.shown; ++e) {
            const i64 place = static_cast<i64>(e) * cells_ + now.cell[e];
            can_move |= !walls[place + step_[now.direction[e]]];
            can_pick |= tried_markers_[static_cast<std::size_t>(place)] != 0;
        }
        auto weights = plan_.action_weights;
        for (std::size_t a = 0; a < weights.size(); ++a) {
            const u8 effect = action_words[plan_.performed[a]].meaning;
            if ((effect == does::move && !can_move) || (effect == does::pick && !can_pick)) weights[a] = 0;
        }
        return weights;
    }

    // The same action in each of the first `count` worlds. Straight-line programs are too short to reach 255 markers.
    void perform_one(u8 action, int count, const u8* walls, u8* markers, Robots& now) const {
        const u8 effect = action_words[action].meaning;
        switch (effect) {
            case does::move:
                for (int e = 0; e < count; ++e) {
                    const int ahead = now.cell[e] + step_[now.direction[e]];
                    now.cell[e] = walls[static_cast<i64>(e) * cells_ + ahead] ? now.cell[e] : ahead;
                }
                break;
            case does::turn(1):
            case does::turn(2):
            case does::turn(3):
                for (int e = 0; e < count; ++e) now.direction[e] = (now.direction[e] + (effect >> 3)) & 3;
                break;
            case does::pick:
                for (int e = 0; e < count; ++e) {
                    u8& here = markers[static_cast<i64>(e) * cells_ + now.cell[e]];
                    here = static_cast<u8>(here - (here != 0));
                }
                break;
            case does::put:
                for (int e = 0; e < count; ++e) ++markers[static_cast<i64>(e) * cells_ + now.cell[e]];
                break;
            default:
                throw std::logic_error("the sampler cannot perform action " + std::to_string(action));
        }
    }

    int statements(Stream& stream, u8* symbols) const {
        const auto condition_ends = cumulative(plan_.condition_weights);
        const int depth = static_cast<int>(plan_.depth);
        const u32 lowest = plan_.lowest_count, highest = plan_.highest_count;

        struct Block {
            u32 left;    // statements still to write
            u32 orelse;  // statements of the `else` body that follows it
        };
        Block blocks[max_depth + 1];
        int open = 0;  // blocks around the one in hand
        blocks[0] = {plan_.shortest + stream.below(plan_.longest - plan_.shortest + 1), 0};
        u8* out = symbols;
        for (;;) {
            Block& block = blocks[open];
            if (block.left == 0) {
                if (open == 0) return static_cast<int>(out - symbols);
                *out++ = symbol_close;
                if (block.orelse) {
                    *out++ = symbol_else;
                    *out++ = symbol_open;
                    block = {block.orelse, 0};
                } else {
                    --open;
                }
                continue;
            }
            std::array<u32, action_count + statement_count> weights{};
            std::copy_n(plan_.action_weights.data(), action_count, weights.data());
            for (std::size_t s = 0; s < statement_count; ++s) {
                const u32 needed = symbol_if + s == symbol_ifelse ? 3 : 2;
                weights[action_count + s] = open < depth && block.left >= needed ? plan_.statement_weights[s] : 0;
            }
            const auto statement = static_cast<u8>(stream.weighted(cumulative(weights).data(), weights.size()));
            *out++ = statement;
            --block.left;
            if (statement < symbol_if) continue;
            Block inner{};
            if (statement == symbol_ifelse) {
                inner.left = 1 + stream.below(block.left - 1);
                inner.orelse = 1 + stream.below(block.left - inner.left);
            } else {
                inner.left = 1 + stream.below(block.left);
            }
            if (statement == symbol_repeat) {
                *out++ = static_cast<u8>(symbol_count + lowest + stream.below(highest - lowest + 1));
            } else {
                const auto condition = static_cast<u8>(symbol_condition + stream.weighted(condition_ends.data(), condition_count));
                if (plan_.negate && stream.below(2)) *out++ = symbol_not;
                *out++ = condition;
            }
            *out++ = symbol_open;
            block.left -= inner.left + inner.orelse;
            blocks[++open] = inner;
        }
    }

    // Few programs may be of the split, and each is drawn with care.
    void look(i64 attempt) const {
        if (attempt % attempts_between_looks == attempts_between_looks - 1) worker_.check();
    }

    static constexpr i64 attempts_between_looks = 256;
    const Plan& plan_;
    const Worker& worker_;
    int worlds_, rows_, cols_, cells_;
    PhiloxKey key_;
    int blocks_;  // per world, enough unless a bounded draw is rejected
    std::array<int, 4> step_;
    std::vector<BlockAddress> addresses_;
    std::vector<u16> values_;
    std::vector<u8> cell_walls_, cell_markers_;
    std::vector<u8> tried_markers_;  // the shown worlds' markers while a program without no-ops is drawn
    u32 low_ = 0, high_ = 0;
    Robots robots_;
    u8 written_[symbols_per_statement * max_length];
};

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("plan: ") + what);
}

}  // namespace

void check_plan(const Plan& plan) {
    check_sides(plan.height, plan.width);
    require(plan.shown >= 1 && plan.shown <= plan.worlds && plan.worlds <= max_worlds, "1..200 worlds a sample");
    require(plan.wall_end <= 65535 && plan.wall_end <= plan.marker_end && plan.marker_end <= 65536, "thresholds");
    require(plan.shortest >= 1 && plan.shortest <= plan.longest && plan.longest <= max_length, "lengths");
    u64 total = 0;
    for (const u32 weight : plan.action_weights) total += weight;
    require(total >= 1 && total <= 65535, "action weights must sum to 1..65535");
    for (const u8 action : plan.performed) require(action < action_count, "performed actions must be codes of the vocabulary");
    require(plan.split <= 255, "split");
    require(plan.max_attempts >= 1 && plan.max_attempts < (i64{1} << 31), "attempts");
    // Rows of symbols are as wide as this, so it is also what memory is taken by.
    const int least = plan.has_control ? 1 : static_cast<int>(plan.longest);
    require(plan.symbol_width >= least && plan.symbol_width <= symbols_per_statement * static_cast<int>(max_length), "symbol width");
    if (!plan.has_control) return;
    require(!plan.avoid_noops, "no-ops are avoided in straight-line programs only");
    for (const u32 weight : plan.statement_weights) total += weight;
    require(total <= 65535, "statement weights");
    u64 conditions = 0;
    for (const u32 weight : plan.condition_weights) conditions += weight;
    require(conditions >= 1 && conditions <= 65535, "condition weights");
    require(plan.depth >= 1 && plan.depth <= max_depth, "depth");
    require(plan.lowest_count <= plan.highest_count && plan.highest_count <= 99, "repeat counts");
}

bool sample_straight(const Plan& plan, i64 start, i64 count, int threads, const ProgramArrays& programs, const WorldArrays& inputs,
                     u8* out_markers, u8* out_robot, Interrupt& interrupt) {
    const i64 cells = static_cast<i64>(plan.height) * plan.width;
    return parallel_for(count, 64, threads, interrupt, [&](i64 begin, i64 end, const Worker& worker) {
        Drawer drawer(plan, plan.worlds, worker);
        for (i64 i = begin; i < end; ++i) {
            const i64 world = i * plan.worlds;
            const auto cell_bytes = static_cast<std::size_t>(cells * plan.worlds);
            u8* walls = inputs.walls + world * cells;
            u8* markers = inputs.markers + world * cells;
            u8* symbols = programs.symbols + i * plan.symbol_width;
            drawer.worlds(start + i, walls, markers, inputs.robot + 3 * world);
            const int length = programs.lengths[i] = drawer.straight(walls, markers, symbols);
            std::memcpy(out_markers + world * cells, markers, cell_bytes);
            drawer.perform(symbols, length, walls, out_markers + world * cells, out_robot + 3 * world);
        }
    });
}

bool sample_worlds(const Plan& plan, i64 start, i64 count, int threads, const WorldArrays& inputs, Interrupt& interrupt) {
    const i64 cells = static_cast<i64>(plan.height) * plan.width;
    return parallel_for(count, 64, threads, interrupt, [&](i64 begin, i64 end, const Worker& worker) {
        Drawer drawer(plan, plan.worlds, worker);
        for (i64 i = begin; i < end; ++i) {
            const i64 world = i * plan.worlds;
            drawer.worlds(start + i, inputs.walls + world * cells, inputs.markers + world * cells, inputs.robot + 3 * world);
        }
    });
}

bool sample_programs(const Plan& plan, i64 count, const i64* indices, const i64* attempts, int threads, const ProgramArrays& programs,
                     i64* used, Interrupt& interrupt) {
    return parallel_for(count, 64, threads, interrupt, [&](i64 begin, i64 end, const Worker& worker) {
        Drawer drawer(plan, 1, worker);
        for (i64 i = begin; i < end; ++i) {
            u8* symbols = programs.symbols + i * plan.symbol_width;
            programs.lengths[i] = drawer.control_flow(indices[i], attempts[i], symbols, used[i]);
        }
    });
}

template <class Token>
bool sample_tokens(const Plan& plan, const TokenLayout& layout, i64 start, i64 count, int threads, Token* rows, std::int32_t* lengths,
                   Interrupt& interrupt) {
    const auto cell_bytes = static_cast<std::size_t>(plan.height * plan.width * plan.shown);
    return parallel_for(count, 64, threads, interrupt, [&](i64 begin, i64 end, const Worker& worker) {
        Drawer drawer(plan, plan.shown, worker);
        std::vector<u8> walls(cell_bytes), markers(cell_bytes), out_markers(cell_bytes);
        std::vector<u8> robot(static_cast<std::size_t>(3 * plan.shown)), out_robot(robot.size());
        std::vector<u8> symbols(static_cast<std::size_t>(plan.symbol_width));
        std::int32_t length = 0;
        const SampleArrays one{1,           plan.shown,   plan.height,    plan.width,        plan.symbol_width,
                               symbols.data(), &length,   walls.data(),   markers.data(),    robot.data(),
                               walls.data(), out_markers.data(), out_robot.data()};
        for (i64 i = begin; i < end; ++i) {
            drawer.worlds(start + i, walls.data(), markers.data(), robot.data());
            length = lengths[i] = drawer.straight(walls.data(), markers.data(), symbols.data());
            std::memcpy(out_markers.data(), markers.data(), cell_bytes);
            drawer.perform(symbols.data(), length, walls.data(), out_markers.data(), out_robot.data());
            encode_row(layout, one, 0, rows + i * layout.row_length);
        }
    });
}

template bool sample_tokens(const Plan&, const TokenLayout&, i64, i64, int, u8*, std::int32_t*, Interrupt&);
template bool sample_tokens(const Plan&, const TokenLayout&, i64, i64, int, u16*, std::int32_t*, Interrupt&);

}  // namespace karel
