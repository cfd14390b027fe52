// Specifications of any worlds out of a fuzzer's bytes, and one world while a program runs, by the plainest code.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../csrc/karel/solver.hpp"
#include "../../csrc/karel/world.hpp"
#include "bytes.hpp"

namespace fuzz {

using namespace karel;

struct Arrays {
    std::int64_t count;
    int examples, shown, height, width;
    std::int64_t worlds, cells;
    Exact<std::uint8_t> walls, markers, robot, out_walls, out_markers, out_robot;
    std::vector<std::uint8_t> written;  // the program that made the outputs, where nothing was changed

    Arrays(std::int64_t n, int e, int s, int h, int w)
        : count(n), examples(e), shown(s), height(h), width(w), worlds(n * e), cells(static_cast<std::int64_t>(h) * w),
          walls(room(worlds * cells)), markers(walls.size), robot(room(3 * worlds)), out_walls(walls.size), out_markers(walls.size),
          out_robot(robot.size) {}

    Specifications specifications() const {
        return {count, examples, shown, height, width, walls.get(), markers.get(), robot.get(), out_walls.get(), out_markers.get(), out_robot.get()};
    }
};

// One world while a program runs, by the plainest code.
struct Plain {
    const Arrays* all;
    std::int64_t world;
    std::vector<std::uint8_t> markers;
    int row, column, direction;
    bool stopped = false;

    Plain(const Arrays& arrays, std::int64_t i)
        : all(&arrays), world(i), markers(arrays.markers.get() + i * arrays.cells, arrays.markers.get() + (i + 1) * arrays.cells),
          row(arrays.robot[room(3 * i)]), column(arrays.robot[room(3 * i + 1)]), direction(arrays.robot[room(3 * i + 2)]) {}

    bool operator==(const Plain& other) const {
        return markers == other.markers && row == other.row && column == other.column && direction == other.direction && stopped == other.stopped;
    }
    void act(std::uint8_t action) {
        const std::uint8_t effect = action_words[action].meaning;
        std::uint8_t& here = markers[room(static_cast<std::int64_t>(row) * all->width + column)];
        if (stopped) return;
        if (effect == does::move) {
            const int r = row + (direction == south) - (direction == north), c = column + (direction == east) - (direction == west);
            const bool ring = r == 0 || c == 0 || r == all->height - 1 || c == all->width - 1;
            if (ring || all->walls[room(world * all->cells + r * all->width + c)]) return;
            row = r;
            column = c;
        } else if (effect == does::pick) {
            if (here > 0) --here;
        } else if (effect == does::put) {
            if (here == 255) stopped = true;
            else ++here;
        } else {
            direction = (direction + (effect >> 3)) % 4;
        }
    }
    // A text shows the robot in place of what is under it, and more than nine markers as nine.
    bool looks_like_output() const {
        const std::uint8_t* wanted = all->out_robot.get() + 3 * world;
        if (stopped || row != wanted[0] || column != wanted[1] || direction != wanted[2]) return false;
        for (std::int64_t cell = 0; cell < all->cells; ++cell) {
            const std::size_t at = room(world * all->cells + cell);
            if (all->walls[at] != all->out_walls[at]) return false;
            if (all->walls[at] || cell == static_cast<std::int64_t>(row) * all->width + column) continue;
            if (std::min<int>(markers[room(cell)], most_shown) != std::min<int>(all->out_markers[at], most_shown)) return false;
        }
        return true;
    }
};

// One or two specifications whose outputs are mostly what a program of at most so many actions makes of the inputs; now and then of
// another world, or changed. lawful: with what Python's worlds keep to.
inline Arrays drawn_specifications(Bytes& bytes, int shown, int examples, int height, int width, const Prior& prior, int most_actions,
                                   bool lawful) {
    Arrays all(bytes.from(1, 2), examples, shown, height, width);
    for (std::int64_t world = 0; world < all.worlds; ++world) {
        std::uint8_t* robot = all.robot.get() + 3 * world;
        robot[0] = static_cast<std::uint8_t>(bytes.from(1, height - 2));
        robot[1] = static_cast<std::uint8_t>(bytes.from(1, width - 2));
        robot[2] = static_cast<std::uint8_t>(bytes.from(0, 3));
        for (std::int64_t cell = 0; cell < all.cells; ++cell) {
            const std::uint8_t drawn = bytes.byte();
            all.walls[room(world * all.cells + cell)] = drawn % 8 == 1;
            all.markers[room(world * all.cells + cell)] = drawn >= 250 ? drawn : drawn % 8 == 2 ? drawn / 8 % 12 : 0;
            // What Python's worlds keep to: a ring of wall, and none where the robot stands.
            const std::int64_t row = cell / width, column = cell % width;
            const bool ring = row == 0 || column == 0 || row == height - 1 || column == width - 1;
            if (lawful && (ring || (row == robot[0] && column == robot[1]))) all.walls[room(world * all.cells + cell)] = ring;
        }
    }
    // What a program makes of the worlds; now and then of another world, or changed.
    const auto length = static_cast<std::size_t>(bytes.from(0, most_actions));
    for (int k = 0; k < most_actions; ++k) all.written.push_back(static_cast<std::uint8_t>(bytes.from(0, action_count - 1)));
    all.written.resize(length);
    for (std::int64_t world = 0; world < all.worlds; ++world) {
        Plain made(all, world);
        for (const std::uint8_t action : all.written) made.act(prior.performed[action]);
        const std::uint8_t changed = bytes.byte();
        std::uint8_t* robot = all.out_robot.get() + 3 * world;
        robot[0] = static_cast<std::uint8_t>(changed == 255 ? bytes.from(1, height - 2) : made.row);
        robot[1] = static_cast<std::uint8_t>(changed == 255 ? bytes.from(1, width - 2) : made.column);
        robot[2] = static_cast<std::uint8_t>(changed == 254 ? bytes.from(0, 3) : made.direction);
        std::copy_n(all.walls.get() + world * all.cells, all.cells, all.out_walls.get() + world * all.cells);
        std::copy(made.markers.begin(), made.markers.end(), all.out_markers.get() + world * all.cells);
        if (changed == 253) all.out_walls[room(world * all.cells + bytes.from(0, all.cells - 1))] ^= 1;
        if (changed == 252) all.out_markers[room(world * all.cells + bytes.from(0, all.cells - 1))] = bytes.byte();
    }
    const Specifications given = all.specifications();
    check_worlds({all.worlds, height, width, given.walls, given.markers, given.robot});
    check_worlds({all.worlds, height, width, given.out_walls, given.out_markers, given.out_robot});
    return all;
}

}  // namespace fuzz
