// Fuzzes what draws, packs and writes samples: any plan is refused, or gives samples that are those of it whatever the range
// and the threads; packed worlds unpack to themselves; token rows are those of the samples.
#include <algorithm>
#include <stdexcept>

#include "../../csrc/karel/packing.hpp"
#include "../../csrc/karel/sampler.hpp"
#include "../../csrc/karel/symbols.hpp"
#include "../../csrc/karel/world.hpp"
#include "bytes.hpp"

namespace {

using namespace karel;
using fuzz::Bytes;
using fuzz::room;
using Array = std::vector<std::uint8_t>;

Plan plan_of(Bytes& bytes) {
    Plan plan{};
    const bool wild = bytes.byte() == 255;  // then any number at all
    const auto number = [&](std::int64_t low, std::int64_t high) { return wild && bytes.byte() < 64 ? bytes.from(0, INT32_MAX) : bytes.from(low, high); };
    plan.height = static_cast<int>(number(3, 9));
    plan.width = static_cast<int>(number(3, 9));
    if (bytes.byte() > 250) plan.height = plan.width = 64;
    plan.worlds = static_cast<int>(number(1, 5));
    plan.shown = static_cast<int>(number(1, plan.worlds));
    plan.wall_end = static_cast<std::uint32_t>(number(0, 65535));
    plan.marker_end = static_cast<std::uint32_t>(number(plan.wall_end, 65536));
    plan.shortest = static_cast<std::uint32_t>(number(1, 12));
    plan.longest = static_cast<std::uint32_t>(number(plan.shortest, plan.shortest + 12));
    for (auto& weight : plan.action_weights) weight = static_cast<std::uint32_t>(number(0, 9));
    for (auto& performed : plan.performed) performed = static_cast<std::uint8_t>(number(0, action_count - 1));
    plan.split = static_cast<std::uint32_t>(number(0, 3));
    plan.hash_first = static_cast<std::uint64_t>(bytes.byte() % 4) << 30;
    plan.hash_last = plan.hash_first + (std::uint64_t{1} << 32) - 1 - (static_cast<std::uint64_t>(bytes.byte() % 4) << 30);
    plan.seed = static_cast<std::uint64_t>(bytes.from(0, INT64_MAX));
    plan.max_attempts = number(1, 20);
    plan.has_control = bytes.byte() & 1;
    plan.avoid_noops = bytes.byte() & 1;
    plan.symbol_width = static_cast<int>(number(plan.longest, plan.longest + 3));
    if (plan.has_control) {
        plan.avoid_noops = wild && plan.avoid_noops;
        for (auto& weight : plan.statement_weights) weight = static_cast<std::uint32_t>(number(0, 4));
        for (auto& weight : plan.condition_weights) weight = static_cast<std::uint32_t>(number(0, 4));
        plan.negate = bytes.byte() & 1;
        plan.depth = static_cast<std::uint32_t>(number(1, 8));
        plan.lowest_count = static_cast<std::uint32_t>(number(0, 5));
        plan.highest_count = static_cast<std::uint32_t>(number(plan.lowest_count, 20));
        plan.symbol_width = static_cast<int>(number(1, 200));
    }
    return plan;
}

struct Drawn {
    Drawn(const Plan& plan, std::int64_t start, std::int64_t count, int threads)
        : symbols(room(count * plan.symbol_width)), walls(room(count * plan.worlds * plan.height * plan.width)), markers(walls.size()),
          robot(room(3 * count * plan.worlds)), out_markers(walls.size()), out_robot(robot.size()), lengths(room(count)) {
        Interrupt interrupt(nullptr);
        const ProgramArrays programs{symbols.data(), lengths.data()};
        if (!plan.has_control) {
            sample_straight(plan, start, count, threads, programs, worlds(), out_markers.data(), out_robot.data(), interrupt);
            return;
        }
        sample_worlds(plan, start, count, threads, worlds(), interrupt);
        out_markers = markers;
        out_robot = robot;
        std::vector<std::int64_t> indices(room(count)), attempts(room(count)), used(room(count));
        for (std::int64_t i = 0; i < count; ++i) indices[room(i)] = start + i;
        sample_programs(plan, count, indices.data(), attempts.data(), threads, programs, used.data(), interrupt);
    }
    WorldArrays worlds() { return {walls.data(), markers.data(), robot.data()}; }

    Array symbols, walls, markers, robot, out_markers, out_robot;
    std::vector<std::int32_t> lengths;
};

template <class T>
void same(const std::vector<T>& whole, const std::vector<T>& part, std::size_t from, const char* what) {
    if (!std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(from))) fuzz::differs(what);
}

SampleArrays arrays(const Plan& plan, const Drawn& drawn, std::int64_t count) {
    return {count, plan.worlds, plan.height, plan.width, plan.symbol_width, drawn.symbols.data(), drawn.lengths.data(),
            drawn.walls.data(), drawn.markers.data(), drawn.robot.data(), drawn.walls.data(), drawn.out_markers.data(), drawn.out_robot.data()};
}

void check_packing(const Plan& plan, const Drawn& drawn, std::int64_t count) {
    const std::int64_t inside = (plan.height - 2) * (plan.width - 2), bits = bit_bytes(plan.worlds, inside);
    Array walls(room(count * bits)), markers(walls.size()), robot(room(2 * count * plan.worlds)), changes(room(count * plan.worlds * inside)), out_robot(robot.size());
    Interrupt interrupt(nullptr);
    pack(arrays(plan, drawn, count), {walls.data(), markers.data(), robot.data(), changes.data(), out_robot.data()}, 1, interrupt);
    for (std::int64_t world = 0; world < count * plan.worlds; ++world) {
        const int pose = robot[room(2 * world)] | robot[room(2 * world + 1)] << 8;
        const std::uint8_t* real = drawn.robot.data() + 3 * world;
        if (pose % 4 != real[2] || pose / 4 != (real[0] - 1) * (plan.width - 2) + real[1] - 1) fuzz::differs("a packed robot");
        for (std::int64_t cell = 0; cell < inside; ++cell) {
            const std::int64_t row = cell / (plan.width - 2) + 1, column = cell % (plan.width - 2) + 1;
            const std::size_t at = room((world * plan.height + row) * plan.width + column);
            const std::int64_t bit = world % plan.worlds * inside + cell, byte = world / plan.worlds * bits + bit / 8;
            const auto packed = [&](const Array& column_of) { return column_of[room(byte)] >> (7 - bit % 8) & 1; };
            if (packed(walls) != drawn.walls[at] || packed(markers) != drawn.markers[at]) fuzz::differs("a packed cell");
            if (static_cast<std::uint8_t>(drawn.markers[at] + changes[room(world * inside + cell)]) != drawn.out_markers[at]) fuzz::differs("a packed change");
        }
    }
}

void check_tokens(const Plan& plan, const Drawn& drawn, std::int64_t start, std::int64_t count, Bytes& bytes) {
    const int inside = (plan.height - 2) * (plan.width - 2), grids = 2 * plan.shown;
    TokenLayout layout{};
    layout.cell_step = static_cast<int>(bytes.from(1, 2));
    layout.row_step = layout.cell_step * (plan.width - 2) + bytes.byte() % 2;
    const int room_of_grid = layout.row_step * (plan.height - 2) + layout.cell_step;
    layout.prompt.assign(room(grids * room_of_grid + bytes.byte() % 3), 7);
    for (int grid = 0; grid < grids; ++grid) layout.grid_starts.push_back(grid * room_of_grid);
    layout.row_length = static_cast<int>(layout.prompt.size()) + static_cast<int>(bytes.from(0, 3 * plan.symbol_width));
    layout.first_cell = 100;
    layout.pad = 0;
    layout.end = 1;
    for (std::size_t symbol = 0; symbol < layout.token_of_symbol.size(); ++symbol) layout.token_of_symbol[symbol] = static_cast<std::uint16_t>(symbol < 200 ? 30 + symbol : 0);
    layout.writer = bytes.byte() & 1 ? ProgramWriter::lines : ProgramWriter::symbols;
    layout.indent = 2;
    layout.newline = 3;
    layout.right_paren = 4;
    Interrupt interrupt(nullptr);
    const auto cells = room(count * layout.row_length);
    std::vector<std::uint16_t> encoded(cells), drawn_rows(cells);
    try {
        encode(layout, arrays(plan, drawn, count), 1, encoded.data(), interrupt);
    } catch (const std::invalid_argument&) {
        return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
        for (int cell = 0; cell < inside; ++cell) {
            const std::int64_t world = i * plan.worlds, row = cell / (plan.width - 2) + 1, column = cell % (plan.width - 2) + 1;
            const std::size_t at = room((world * plan.height + row) * plan.width + column);
            const std::uint8_t* robot = drawn.robot.data() + 3 * world;
            const int shown = robot[0] == row && robot[1] == column ? robot_shown + robot[2] : drawn.walls[at] ? wall_shown : std::min<int>(drawn.markers[at], most_shown);
            if (encoded[room(i * layout.row_length + (row - 1) * layout.row_step + (column - 1) * layout.cell_step)] != 100 + shown) fuzz::differs("a cell's token");
        }
    }
    if (plan.has_control) return;
    std::vector<std::int32_t> lengths(room(count));
    sample_tokens(plan, layout, start, count, 1, drawn_rows.data(), lengths.data(), interrupt);
    if (lengths != drawn.lengths || drawn_rows != encoded) fuzz::differs("rows that are drawn and rows that are written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    const Plan plan = plan_of(bytes);
    try {
        check_plan(plan);
    } catch (const std::invalid_argument&) {
        return 0;
    }
    // Right, but slow, or large.
    if (plan.max_attempts > 1000 || plan.symbol_width > 2000 || plan.height * plan.width * plan.worlds > 20'000) return 0;
    const std::int64_t start = bytes.from(0, INT64_MAX / 4), count = bytes.from(1, 4);
    try {
        Drawn(plan, start, count, 1);
    } catch (const std::logic_error&) {
        return 0;  // a program longer than the plan says, which is refused before it is written
    }
    const Drawn whole(plan, start, count, static_cast<int>(bytes.from(1, 2)));
    const std::int64_t from = bytes.from(0, count - 1);
    const Drawn part(plan, start + from, count - from, 1);
    const auto at = [&](const auto& array) { return array.size() / room(count) * room(from); };
    same(whole.symbols, part.symbols, at(whole.symbols), "symbols");
    same(whole.lengths, part.lengths, at(whole.lengths), "lengths");
    same(whole.walls, part.walls, at(whole.walls), "walls");
    same(whole.markers, part.markers, at(whole.markers), "markers");
    same(whole.robot, part.robot, at(whole.robot), "robots");
    same(whole.out_markers, part.out_markers, at(whole.out_markers), "output markers");
    same(whole.out_robot, part.out_robot, at(whole.out_robot), "output robots");
    for (const std::int32_t length : whole.lengths) {
        if (length < -1 || length > plan.symbol_width) fuzz::differs("a length");
    }
    check_packing(plan, whole, count);
    check_tokens(plan, whole, start, count, bytes);
    return 0;
}
