// The states that one world of a specification takes under programs, numbered as they are found, with what each still needs to
// become the output that the specification shows.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "index_table.hpp"
#include "program.hpp"
#include "solver.hpp"
#include "world.hpp"

namespace karel {

// How many actions of each kind a world needs at least. All are 0 exactly where the world looks like its output.
struct Need {
    std::uint16_t moves;
    std::uint16_t turns;
    std::uint16_t pose;  // moves and turns together, walls considered
    std::uint16_t picks;
    std::uint16_t puts;

    bool nothing() const { return !(moves | turns | pose | picks | puts); }
};

inline constexpr std::uint16_t unreachable = 0x3FFF;  // five of them still fit in an int

// One example: the world before, and the world that a run must end in.
struct Example {
    int height;
    int width;
    const std::uint8_t* walls;
    const std::uint8_t* markers;
    const std::uint8_t* robot;
    const std::uint8_t* out_walls;
    const std::uint8_t* out_markers;
    const std::uint8_t* out_robot;
};

// World w of all worlds, with what it has to become.
inline Example example_of(const Specifications& all, std::int64_t w) {
    const std::int64_t cells = static_cast<std::int64_t>(all.height) * all.width;
    return {all.height,
            all.width,
            all.walls + w * cells,
            all.markers + w * cells,
            all.robot + 3 * w,
            all.out_walls + w * cells,
            all.out_markers + w * cells,
            all.out_robot + 3 * w};
}

class WorldStates {
public:
    static constexpr std::int32_t first = 0;
    static constexpr std::int32_t stopped = -1;  // a put onto 255 markers ended the run

    // Forgets everything and begins with the example's input as state `first`. `possible` says which actions are ever performed.
    void begin(const Example& example, const std::array<bool, action_count>& possible);

    std::int32_t next(std::int32_t state, std::uint8_t action) {
        const std::int32_t known = next_[static_cast<std::size_t>(state)][action];
        return known == unknown ? find_next(state, action) : known;
    }
    const Need& need(std::int32_t state) const { return needs_[static_cast<std::size_t>(state)]; }
    // Where the robot stands and looks: cell * 4 + direction; how many markers are under it.
    int pose(std::int32_t state) const { return poses_[static_cast<std::size_t>(state)]; }
    int markers_here(std::int32_t state) const { return markers_at(marking_of_[static_cast<std::size_t>(state)], pose(state) / 4); }
    // The pose after an action, which no marker has a say in.
    int pose_after(int pose, std::uint8_t action) const;
    std::int64_t size() const { return static_cast<std::int64_t>(needs_.size()); }

private:
    static constexpr std::int32_t unknown = -2;

    // Where markers differ from the input: a run of `items_`, each cell << 16 | markers, sorted.
    struct Marking {
        std::size_t begin;
        std::uint32_t size;
        std::uint16_t picks;  // needed to look like the output, the robot's last cell left out
        std::uint16_t puts;
    };

    std::int32_t find_next(std::int32_t state, std::uint8_t action);
    std::int32_t state_of(std::int32_t marking, int pose);
    std::int32_t marking_with(std::int32_t marking, int cell, int markers);
    int markers_at(std::int32_t marking, int cell) const;
    Need need_of(std::int32_t marking, int pose) const;
    void count_needs(Marking& marking) const;
    void measure_distances(const Example& example);
    std::uint16_t moves_by_way_of(int pose, int cell) const;
    // Markers to add (positive) or take away so that the cell looks like the output's.
    int shortage(int cell, int markers) const;

    int width_ = 0;
    int cells_ = 0;
    bool same_walls_ = false;
    int last_cell_ = 0;
    bool can_move_ = false, can_pick_ = false, can_put_ = false;
    std::array<bool, 4> can_turn_{};             // by so many quarters clockwise
    const std::uint8_t* markers_ = nullptr;      // of the input and the output
    const std::uint8_t* out_markers_ = nullptr;
    std::vector<std::uint16_t> after_move_;      // (cells * 4,): the pose is cell * 4 + direction
    std::vector<std::uint16_t> moves_to_go_;     // (cells * 4,): fewest moves to the last pose, whatever the turns
    std::vector<std::uint16_t> turns_to_go_;     // (cells * 4,)
    std::vector<std::uint16_t> steps_to_go_;     // (cells * 4,): fewest moves and turns together
    std::vector<std::uint16_t> wrong_at_first_;  // cells whose input does not look like the output
    std::uint32_t picks_at_first_ = 0;
    std::uint32_t puts_at_first_ = 0;

    std::vector<std::uint32_t> items_;
    std::vector<Marking> markings_;
    IndexTable marking_table_;

    std::vector<std::array<std::int32_t, action_count>> next_;
    std::vector<Need> needs_;
    std::vector<std::uint16_t> poses_;
    std::vector<std::int32_t> marking_of_;
    IndexTable state_table_;

    std::vector<std::uint32_t> draft_;
};

}  // namespace karel
