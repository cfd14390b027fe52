#include "solver_worlds.hpp"

#include <algorithm>
#include <cstdlib>
#include <deque>

#include "vocabulary.hpp"

namespace karel {
namespace {

// What an action does, from the vocabulary's byte: exactly one of these.
struct Effect {
    bool moves;
    int quarters;  // turned clockwise
    int markers;   // put (1) or picked (-1)
};

constexpr Effect effect_of(std::uint8_t action) {
    const std::uint8_t meaning = action_words[action].meaning;
    return {(meaning & does::move) != 0, meaning >> 3, ((meaning & does::put) != 0) - ((meaning & does::pick) != 0)};
}

}  // namespace

void WorldStates::begin(const Example& example, const std::array<bool, action_count>& possible) {
    width_ = example.width;
    cells_ = example.height * example.width;
    same_walls_ = std::equal(example.walls, example.walls + cells_, example.out_walls);
    last_cell_ = example.out_robot[0] * width_ + example.out_robot[1];
    can_move_ = can_pick_ = can_put_ = false;
    can_turn_.fill(false);
    for (std::uint8_t action = 0; action < action_count; ++action) {
        if (!possible[action]) continue;
        const Effect effect = effect_of(action);
        can_move_ = can_move_ || effect.moves;
        can_pick_ = can_pick_ || effect.markers < 0;
        can_put_ = can_put_ || effect.markers > 0;
        if (effect.quarters) can_turn_[static_cast<std::size_t>(effect.quarters)] = true;
    }
    markers_ = example.markers;
    out_markers_ = example.out_markers;
    measure_distances(example);

    wrong_at_first_.clear();
    picks_at_first_ = puts_at_first_ = 0;
    for (int cell = 0; cell < cells_; ++cell) {
        const int wanting = example.walls[cell] ? 0 : shortage(cell, markers_[cell]);
        if (!wanting) continue;
        wrong_at_first_.push_back(static_cast<std::uint16_t>(cell));
        (wanting > 0 ? puts_at_first_ : picks_at_first_) += static_cast<std::uint32_t>(std::abs(wanting));
    }

    items_.clear();
    markings_.clear();
    marking_table_.clear();
    next_.clear();
    needs_.clear();
    poses_.clear();
    marking_of_.clear();
    state_table_.clear();
    draft_.clear();
    markings_.push_back({0, 0, 0, 0});  // the input's: no cell differs
    count_needs(markings_[0]);
    marking_table_.find_or_enter(mix(0, 0), 0, [](std::int32_t) { return true; });
    state_of(0, (example.robot[0] * width_ + example.robot[1]) * 4 + example.robot[2]);
}

int WorldStates::shortage(int cell, int markers) const {
    if (cell == last_cell_) return 0;  // the robot hides what is under it
    const int wanted = std::min<int>(out_markers_[cell], most_shown);
    return wanted == most_shown && markers >= most_shown ? 0 : wanted - markers;
}

// Fewest actions from every pose to the last one, by searches backward from it.
void WorldStates::measure_distances(const Example& example) {
    const auto poses = static_cast<std::size_t>(cells_) * 4;
    const std::array<int, 4> step{-width_, 1, width_, -1};
    after_move_.resize(poses);
    for (int cell = 0; cell < cells_; ++cell) {
        const int row = cell / width_, column = cell % width_;
        const bool inside = row > 0 && row < example.height - 1 && column > 0 && column < width_ - 1;
        for (int direction = 0; direction < 4; ++direction) {
            // The ring is wall whatever the array says, so no robot leaves the world.
            int to = cell;
            if (inside) {
                const int ahead = cell + step[static_cast<std::size_t>(direction)];
                const int r = ahead / width_, c = ahead % width_;
                if (r > 0 && r < example.height - 1 && c > 0 && c < width_ - 1 && !example.walls[ahead]) to = ahead;
            }
            after_move_[static_cast<std::size_t>(cell * 4 + direction)] = static_cast<std::uint16_t>(to * 4 + direction);
        }
    }
    const int last = last_cell_ * 4 + example.out_robot[2];
    // Actions of cost 0 are followed at once, so the queue stays in order of distance.
    const auto search = [&](std::vector<std::uint16_t>& distance, int move_cost, int turn_cost) {
        distance.assign(poses, unreachable);
        std::deque<std::uint16_t> open;
        distance[static_cast<std::size_t>(last)] = 0;
        open.push_back(static_cast<std::uint16_t>(last));
        while (!open.empty()) {
            const int pose = open.front();
            open.pop_front();
            const auto reach = [&](int from, int cost) {
                const auto there = static_cast<std::uint16_t>(distance[static_cast<std::size_t>(pose)] + cost);
                if (there >= distance[static_cast<std::size_t>(from)]) return;
                distance[static_cast<std::size_t>(from)] = there;
                if (cost) open.push_back(static_cast<std::uint16_t>(from));
                else open.push_front(static_cast<std::uint16_t>(from));
            };
            const int direction = pose % 4, cell = pose / 4;
            for (int quarters = 1; quarters < 4; ++quarters) {
                if (can_turn_[static_cast<std::size_t>(quarters)]) reach(cell * 4 + (direction + 4 - quarters) % 4, turn_cost);
            }
            const int behind = cell - step[static_cast<std::size_t>(direction)];
            if (can_move_ && behind >= 0 && behind < cells_ && !example.walls[behind] &&
                after_move_[static_cast<std::size_t>(behind * 4 + direction)] == pose) {
                reach(behind * 4 + direction, move_cost);
            }
        }
    };
    search(moves_to_go_, 1, 0);
    search(turns_to_go_, 0, 1);
    search(steps_to_go_, 1, 1);
}

int WorldStates::markers_at(std::int32_t marking, int cell) const {
    const Marking& m = markings_[static_cast<std::size_t>(marking)];
    for (std::uint32_t k = 0; k < m.size; ++k) {
        const std::uint32_t item = items_[m.begin + k];
        if (static_cast<int>(item >> 16) == cell) return static_cast<int>(item & 0xFFFF);
    }
    return markers_[cell];
}

std::int32_t WorldStates::marking_with(std::int32_t marking, int cell, int markers) {
    const Marking& from = markings_[static_cast<std::size_t>(marking)];
    draft_.clear();
    const std::uint32_t changed = static_cast<std::uint32_t>(cell) << 16 | static_cast<std::uint32_t>(markers);
    const bool differs = markers != markers_[cell];
    bool placed = !differs;
    for (std::uint32_t k = 0; k < from.size; ++k) {
        const std::uint32_t item = items_[from.begin + k];
        if (!placed && static_cast<int>(item >> 16) >= cell) {
            draft_.push_back(changed);
            placed = true;
        }
        if (static_cast<int>(item >> 16) != cell) draft_.push_back(item);
    }
    if (!placed) draft_.push_back(changed);

    std::uint64_t hash = mix(0, draft_.size());
    for (const std::uint32_t item : draft_) hash = mix(hash, item);
    const auto number = static_cast<std::int32_t>(markings_.size());
    const std::int32_t found = marking_table_.find_or_enter(hash, number, [&](std::int32_t other) {
        const Marking& m = markings_[static_cast<std::size_t>(other)];
        return m.size == draft_.size() &&
               std::equal(draft_.begin(), draft_.end(), items_.begin() + static_cast<std::ptrdiff_t>(m.begin));
    });
    if (found == number) {
        Marking made{items_.size(), static_cast<std::uint32_t>(draft_.size()), 0, 0};
        items_.insert(items_.end(), draft_.begin(), draft_.end());
        count_needs(made);
        markings_.push_back(made);
    }
    return found;
}

void WorldStates::count_needs(Marking& marking) const {
    std::int64_t picks = picks_at_first_, puts = puts_at_first_;
    const auto count = [&](int wanting, int sign) { (wanting > 0 ? puts : picks) += sign * std::abs(wanting); };
    for (std::uint32_t k = 0; k < marking.size; ++k) {
        const std::uint32_t item = items_[marking.begin + k];
        const auto cell = static_cast<int>(item >> 16);
        count(shortage(cell, markers_[cell]), -1);
        count(shortage(cell, static_cast<int>(item & 0xFFFF)), 1);
    }
    const auto limited = [](std::int64_t needed, bool possible) {
        return needed && !possible ? unreachable : static_cast<std::uint16_t>(std::min<std::int64_t>(needed, unreachable));
    };
    marking.picks = limited(picks, can_pick_);
    marking.puts = limited(puts, can_put_);
}

// Fewest moves for a robot that must stand on `cell` before it ends.
std::uint16_t WorldStates::moves_by_way_of(int pose, int cell) const {
    const int at = pose / 4;
    const int there = std::abs(at / width_ - cell / width_) + std::abs(at % width_ - cell % width_);
    const auto from = moves_to_go_.begin() + cell * 4;  // looking any way
    return static_cast<std::uint16_t>(std::min<int>(unreachable, there + *std::min_element(from, from + 4)));
}

Need WorldStates::need_of(std::int32_t marking, int pose) const {
    if (!same_walls_) return {unreachable, unreachable, unreachable, unreachable, unreachable};
    const Marking& m = markings_[static_cast<std::size_t>(marking)];
    const auto at = static_cast<std::size_t>(pose);
    Need need{moves_to_go_[at], turns_to_go_[at], steps_to_go_[at], m.picks, m.puts};
    if (!need.picks && !need.puts) return need;
    for (std::uint32_t k = 0; k < m.size; ++k) {
        const std::uint32_t item = items_[m.begin + k];
        const auto cell = static_cast<int>(item >> 16);
        if (shortage(cell, static_cast<int>(item & 0xFFFF))) need.moves = std::max(need.moves, moves_by_way_of(pose, cell));
    }
    for (const std::uint16_t cell : wrong_at_first_) {
        if (shortage(cell, markers_at(marking, cell))) need.moves = std::max(need.moves, moves_by_way_of(pose, cell));
    }
    return need;
}

std::int32_t WorldStates::state_of(std::int32_t marking, int pose) {
    const std::uint64_t hash = mix(mix(0, static_cast<std::uint64_t>(marking)), static_cast<std::uint64_t>(pose));
    const auto number = static_cast<std::int32_t>(needs_.size());
    const std::int32_t found = state_table_.find_or_enter(hash, number, [&](std::int32_t other) {
        return marking_of_[static_cast<std::size_t>(other)] == marking && poses_[static_cast<std::size_t>(other)] == pose;
    });
    if (found == number) {
        needs_.push_back(need_of(marking, pose));
        marking_of_.push_back(marking);
        poses_.push_back(static_cast<std::uint16_t>(pose));
        next_.emplace_back().fill(unknown);
    }
    return found;
}

int WorldStates::pose_after(int pose, std::uint8_t action) const {
    const Effect effect = effect_of(action);
    if (effect.moves) return after_move_[static_cast<std::size_t>(pose)];
    return pose / 4 * 4 + (pose % 4 + effect.quarters) % 4;
}

std::int32_t WorldStates::find_next(std::int32_t state, std::uint8_t action) {
    const auto at = static_cast<std::size_t>(state);
    const std::int32_t marking = marking_of_[at];
    const int pose = poses_[at], cell = pose / 4;
    const Effect effect = effect_of(action);
    std::int32_t found = state;
    if (effect.moves || effect.quarters) {
        found = state_of(marking, pose_after(pose, action));
    } else {
        const int markers = markers_at(marking, cell) + effect.markers;
        if (markers > most_markers) found = stopped;
        else if (markers >= 0) found = state_of(marking_with(marking, cell, markers), pose);
    }
    return next_[at][action] = found;
}

}  // namespace karel
