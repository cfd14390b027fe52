// Fuzzes runs and traces: any bytes as programs, bytecode or not, on any worlds. What the core refuses is refused; what it
// takes must run as the plain interpreter below does, which follows karel_fast/karel/language/bytecode.py word for word.
#include <algorithm>
#include <stdexcept>

#include "../../csrc/karel/execute.hpp"
#include "../../csrc/karel/status.hpp"
#include "bytes.hpp"

namespace {

using namespace karel;
using fuzz::Bytes;
using fuzz::Exact;

struct Plain {
    const WorldBatch& worlds;
    const Options& options;
    std::int64_t world;
    std::vector<std::uint8_t> markers;
    int row, column, direction;
    std::int64_t steps = 0, decisions = 0;
    std::vector<std::int8_t> performed;
    std::vector<std::uint8_t> poses, clear;

    Plain(const WorldBatch& all, const Options& chosen, std::int64_t i)
        : worlds(all), options(chosen), world(i),
          markers(all.markers + i * all.height * all.width, all.markers + (i + 1) * all.height * all.width),
          row(all.robot[3 * i]), column(all.robot[3 * i + 1]), direction(all.robot[3 * i + 2]) {
        remember();
    }

    bool open(int towards) const {
        constexpr int down[] = {-1, 0, 1, 0}, right[] = {0, 1, 0, -1};
        const int r = row + down[towards & 3], c = column + right[towards & 3];
        const bool ring = r == 0 || c == 0 || r == worlds.height - 1 || c == worlds.width - 1;
        return !ring && !worlds.walls[(world * worlds.height + r) * worlds.width + c];
    }
    std::uint8_t& here() { return markers[static_cast<std::size_t>(row * worlds.width + column)]; }
    void remember() {
        for (const int part : {row, column, direction, static_cast<int>(here())}) poses.push_back(static_cast<std::uint8_t>(part));
        for (const int turned : {0, 3, 1}) clear.push_back(open(direction + turned));
    }

    Status act(std::uint8_t written) {
        if (steps == options.max_steps) return Status::step_limit;
        const std::uint8_t action = options.performed[written];
        const std::uint8_t effect = action_words[action].meaning;
        if (effect == does::move) {
            if (open(direction)) {
                row += direction == south ? 1 : direction == north ? -1 : 0;
                column += direction == east ? 1 : direction == west ? -1 : 0;
            } else if (options.crash) {
                return Status::crashed;
            }
        } else if (effect == does::pick) {
            if (here() == 0 && options.crash) return Status::crashed;
            if (here() > 0) --here();
        } else if (effect == does::put) {
            if (here() == 255) return Status::marker_limit;
            ++here();
        } else {
            direction = (direction + (effect >> 3)) % 4;
        }
        ++steps;
        performed.push_back(static_cast<std::int8_t>(action));
        remember();
        return Status::ok;
    }

    bool holds(std::uint32_t condition) {
        const std::uint8_t sense = condition_words[condition & ~negated].meaning;
        bool found = sense & looks::markers ? here() != 0 : open(direction + (sense & 3));
        if (sense & looks::not_found) found = !found;
        return condition & negated ? !found : found;
    }

    Status run(const std::uint8_t* actions, std::int64_t length) {
        for (std::int64_t k = 0; k < length; ++k) {
            if (const Status status = act(actions[k]); status != Status::ok) return status;
        }
        return Status::ok;
    }

    Status run(const std::int64_t* code, std::int64_t slots, std::int64_t most) {
        std::vector<std::int64_t> counters(static_cast<std::size_t>(slots));
        for (std::int64_t k = 0, done = 0;; ++done) {
            if (done > most) fuzz::differs("checked bytecode does not end");
            const Instruction at = decode(code[k++]);
            if (at.op < action_count) {
                if (const Status status = act(at.op); status != Status::ok) return status;
            } else if (at.op == halt) {
                return Status::ok;
            } else if (at.op == jump) {
                k = at.b;
            } else if (at.op == set) {
                counters.at(at.a) = at.b;
            } else {
                if (decisions++ == options.max_steps * decisions_per_step) return Status::step_limit;
                if (at.op == branch && !holds(at.a)) k = at.b;
                if (at.op == loop && counters.at(at.a) > 0) {
                    --counters.at(at.a);
                    k = at.b;
                }
            }
        }
    }
};

// An instruction that is likely to pass the checks, now and then any word at all.
std::int64_t instruction(Bytes& bytes, std::int64_t length, std::int64_t slots) {
    const std::uint8_t op = bytes.byte();
    if (op == 255) return bytes.from(INT64_MIN, INT64_MAX);
    const std::uint8_t kind = op % (halt + 1);
    const std::int64_t a = kind == branch ? bytes.byte() % 16 : bytes.from(0, slots);
    const std::int64_t b = kind == set ? bytes.from(0, 4) : bytes.from(-1, length);
    return kind | a << 8 | b * (std::int64_t{1} << 32);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    const int height = static_cast<int>(bytes.from(2, 12)) + (bytes.byte() == 255 ? 54 : 0);
    const int width = static_cast<int>(bytes.from(2, 12)) + (bytes.byte() == 255 ? 54 : 0);
    const std::int64_t count = bytes.from(1, 3), examples = bytes.from(1, 6), n = count * examples;
    const bool straight = bytes.byte() & 1;
    Options options{{}, bytes.from(1, 60), (bytes.byte() & 1) != 0, static_cast<int>(bytes.from(1, 2))};
    for (auto& performed : options.performed) performed = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
    const std::int64_t slots = bytes.from(0, 3);

    Exact<std::int64_t> starts(static_cast<std::size_t>(count));
    Exact<std::int32_t> lengths(static_cast<std::size_t>(count));
    const std::int64_t total = bytes.from(0, 48);
    for (std::int64_t p = 0; p < count; ++p) {
        starts.get()[p] = bytes.from(-1, total);
        lengths.get()[p] = static_cast<std::int32_t>(bytes.from(-1, total));
    }
    const auto made = static_cast<std::size_t>(total);
    Exact<std::uint8_t> actions(straight ? made : 0);
    Exact<std::int64_t> code(straight ? 0 : made);
    for (std::size_t k = 0; k < actions.size; ++k) actions.get()[k] = bytes.byte() % 32 == 31 ? bytes.byte() : bytes.byte() % action_count;
    for (std::size_t k = 0; k < code.size; ++k) code.get()[k] = k + 1 == code.size ? std::int64_t{halt} : instruction(bytes, total, slots);

    const auto cells = static_cast<std::size_t>(n * height * width);
    Exact<std::uint8_t> walls(cells), markers(cells), robot(static_cast<std::size_t>(3 * n));
    const std::uint8_t rare = bytes.byte() % 8;
    for (std::int64_t i = 0; i < n; ++i) {
        robot.get()[3 * i] = static_cast<std::uint8_t>(bytes.from(0, height - (bytes.byte() ? 2 : 0)));
        robot.get()[3 * i + 1] = static_cast<std::uint8_t>(bytes.from(1, width - 1));
        robot.get()[3 * i + 2] = static_cast<std::uint8_t>(bytes.byte() % 5);
    }
    for (std::size_t k = 0; k < cells && bytes.left(); ++k) {
        const std::uint8_t cell = bytes.byte();
        walls.get()[k] = cell % 8 < rare;
        markers.get()[k] = cell > 250 ? 255 : cell > 200 ? cell : cell / 16 % 3;
    }

    const ProgramBatch programs{count, straight ? actions.get() : nullptr, straight ? nullptr : code.get(), total, starts.get(), lengths.get(), slots};
    const WorldBatch worlds{n, height, width, walls.get(), markers.get(), robot.get()};
    Exact<std::uint8_t> after(cells), pose(static_cast<std::size_t>(3 * n)), status(static_cast<std::size_t>(n));
    Exact<std::int32_t> steps(static_cast<std::size_t>(n));
    Interrupt interrupt(nullptr);
    try {
        run(programs, worlds, options, {after.get(), pose.get(), steps.get(), status.get()}, interrupt);
    } catch (const std::invalid_argument&) {
        return 0;
    }
    const std::int64_t traced = *std::max_element(steps.get(), steps.get() + n) + bytes.byte() % 3, states = n * (traced + 1);
    const auto room = [](std::int64_t places) { return static_cast<std::size_t>(places); };
    Exact<std::int8_t> performed(room(n * traced));
    Exact<std::uint8_t> poses(room(3 * states)), here(room(states)), front(room(states)), left(room(states)), right(room(states)), ended(room(n));
    Exact<std::int32_t> taken(room(n));
    trace(programs, worlds, options,
          {traced, performed.get(), poses.get(), here.get(), front.get(), left.get(), right.get(), taken.get(), ended.get()}, interrupt);

    for (std::int64_t i = 0; i < n; ++i) {
        Plain plain(worlds, options, i);
        const std::int64_t p = i / examples, start = starts.get()[p];
        // Between two decisions bytecode goes forward, once, and a jump back leads to a decision.
        const std::int64_t most = (options.max_steps * decisions_per_step + 2) * (total + 2);
        const Status wanted = straight ? plain.run(actions.get() + start, lengths.get()[p]) : plain.run(code.get() + start, slots, most);
        if (status.get()[i] != static_cast<std::uint8_t>(wanted) || ended.get()[i] != status.get()[i]) fuzz::differs("status");
        if (steps.get()[i] != plain.steps || taken.get()[i] != plain.steps) fuzz::differs("steps");
        const std::uint8_t* place = pose.get() + 3 * i;
        if (place[0] != plain.row || place[1] != plain.column || place[2] != plain.direction) fuzz::differs("robot");
        if (!std::equal(plain.markers.begin(), plain.markers.end(), after.get() + i * height * width)) fuzz::differs("markers");
        for (std::int64_t t = 0; t <= traced; ++t) {
            const std::int64_t same = std::min(t, plain.steps), at = i * (traced + 1) + t;
            const auto seen = plain.poses.begin() + 4 * same;
            if (!std::equal(seen, seen + 3, poses.get() + 3 * at) || here.get()[at] != seen[3]) fuzz::differs("a traced pose");
            const auto clear = plain.clear.begin() + 3 * same;
            if (front.get()[at] != clear[0] || left.get()[at] != clear[1] || right.get()[at] != clear[2]) fuzz::differs("what is clear");
            if (t < traced && performed.get()[i * traced + t] != (t < plain.steps ? plain.performed[room(t)] : -1)) fuzz::differs("an action");
        }
    }
    return 0;
}
