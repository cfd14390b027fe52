// A batch of grid worlds as the arrays that Python sees, and the geometry that all of them share.
#pragma once
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace karel {

inline constexpr int min_side = 3;
inline constexpr int max_side = 64;
inline constexpr int most_markers = 255;  // in a cell

enum Direction : std::uint8_t { north = 0, east = 1, south = 2, west = 3 };

// What a cell shows: nothing (0), 1 to 9 markers, a wall, the robot by its direction; CELL_SIGNS of karel_fast/karel/world.py.
inline constexpr std::uint8_t most_shown = 9, wall_shown = most_shown + 1, robot_shown = wall_shown + 1;

struct WorldBatch {
    std::int64_t count;
    int height;
    int width;
    const std::uint8_t* walls;    // (count, height, width), 0 or 1
    const std::uint8_t* markers;  // (count, height, width)
    const std::uint8_t* robot;    // (count, 3): row, column, direction
};

// A cell is addressed by its linear index row * width + column; sets of cells are bit sets over that index.
struct Geometry {
    int height;
    int width;
    int cells;
    int words;                                     // 64-bit words that hold one bit per cell
    std::array<std::int16_t, 4> step;              // change of index per direction
    std::vector<std::uint64_t> interior;           // 1 for cells off the outer ring
    std::vector<std::uint8_t> coordinates;         // (cells, 2): row and column of each index

    Geometry(int height_, int width_)
        : height(height_),
          width(width_),
          cells(height_ * width_),
          words((cells + 63) / 64),
          step{static_cast<std::int16_t>(-width_), 1, static_cast<std::int16_t>(width_), -1},
          interior(static_cast<std::size_t>(words), 0),
          coordinates(static_cast<std::size_t>(2 * cells)) {
        for (int row = 0; row < height; ++row) {
            for (int col = 0; col < width; ++col) {
                const int cell = row * width + col;
                coordinates[2 * cell] = static_cast<std::uint8_t>(row);
                coordinates[2 * cell + 1] = static_cast<std::uint8_t>(col);
                if (row > 0 && row < height - 1 && col > 0 && col < width - 1) {
                    interior[cell / 64] |= std::uint64_t{1} << (cell % 64);
                }
            }
        }
    }
};

inline void check_sides(std::int64_t height, std::int64_t width) {
    if (height < min_side || height > max_side || width < min_side || width > max_side) {
        throw std::invalid_argument("worlds must be " + std::to_string(min_side) + ".." + std::to_string(max_side) +
                                    " cells each side, got " + std::to_string(height) + " x " + std::to_string(width));
    }
}

inline void check_sides(const WorldBatch& worlds) { check_sides(worlds.height, worlds.width); }

// The kernels treat the outer ring as wall whatever the array says, so a robot that starts inside can never leave; that it
// does is therefore all that memory safety needs.
inline bool starts_inside(const std::uint8_t* robot, int height, int width) {
    return static_cast<std::uint8_t>(robot[0] - 1) < height - 2 && static_cast<std::uint8_t>(robot[1] - 1) < width - 2 &&
           robot[2] <= west;
}

// Throws std::invalid_argument: the robot of this world does not start inside the outer walls.
[[noreturn]] void reject_robot(std::int64_t world, const std::uint8_t* robot);

inline void check_worlds(const WorldBatch& worlds) {
    check_sides(worlds);
    for (std::int64_t i = 0; i < worlds.count; ++i) {
        const std::uint8_t* robot = worlds.robot + 3 * i;
        if (!starts_inside(robot, worlds.height, worlds.width)) reject_robot(i, robot);
    }
}

}  // namespace karel
