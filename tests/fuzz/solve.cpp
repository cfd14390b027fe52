// Fuzzes the exact solver: any worlds as specifications and any prior. What it refuses is refused; what it takes has, for short
// programs, the programs and chances that writing all of them down one by one gives, and the same bits whatever the threads.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "../../csrc/karel/solver.hpp"
#include "../../csrc/karel/world.hpp"
#include "bytes.hpp"

namespace {

using namespace karel;
using fuzz::Bytes;
using fuzz::Exact;
using fuzz::room;

constexpr int longest_by_hand = 3;  // 156 programs of five actions
constexpr std::int64_t most_states = 4000;  // more than those can reach

struct Arrays {
    std::int64_t count;
    int examples, shown, height, width;
    std::int64_t worlds, cells;
    Exact<std::uint8_t> walls, markers, robot, out_walls, out_markers, out_robot;

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

struct Program {
    std::vector<std::uint8_t> actions;
    double chance;
    bool generalises;
};

// Every program that satisfies the shown examples of a specification, in order of length and then of codes.
class Written {
public:
    Written(const Arrays& all, const Prior& prior, std::int64_t i) : all_(all), prior_(prior) {
        std::vector<Plain> worlds;
        for (int e = 0; e < all.examples; ++e) worlds.emplace_back(all, i * all.examples + e);
        go_on(worlds, 1.0);
        std::stable_sort(found.begin(), found.end(), [](const Program& a, const Program& b) { return a.actions.size() < b.actions.size(); });
    }
    std::vector<Program> found;

private:
    void go_on(const std::vector<Plain>& worlds, double chance) {
        const int length = static_cast<int>(actions_.size());
        const auto right = [](const Plain& world) { return world.looks_like_output(); };
        if (length >= prior_.shortest && std::all_of(worlds.begin(), worlds.begin() + all_.shown, right)) {
            found.push_back({actions_, chance / (prior_.longest - prior_.shortest + 1), std::all_of(worlds.begin(), worlds.end(), right)});
        }
        if (length == prior_.longest) return;
        std::array<std::vector<Plain>, action_count> after;
        std::array<double, action_count> weights{};
        double useful = 0, total = 0;
        for (std::uint8_t written = 0; written < action_count; ++written) {
            after[written] = worlds;
            bool changes = false;
            for (std::size_t e = 0; e < worlds.size(); ++e) {
                after[written][e].act(prior_.performed[written]);
                changes = changes || (static_cast<int>(e) < all_.shown && !(after[written][e] == worlds[e]));
            }
            weights[written] = changes ? prior_.weights[written] : 0;
            useful += weights[written];
            total += prior_.weights[written];
        }
        const bool any = !prior_.avoid_noops || useful == 0;
        for (std::uint8_t written = 0; written < action_count; ++written) {
            const double weight = any ? prior_.weights[written] : weights[written];
            // A shown run that stopped satisfies nothing any more.
            const bool runs = std::none_of(after[written].begin(), after[written].begin() + all_.shown, [](const Plain& w) { return w.stopped; });
            if (weight == 0 || !runs) continue;
            actions_.push_back(written);
            go_on(after[written], chance * weight / (any ? total : useful));
            actions_.pop_back();
        }
    }

    const Arrays& all_;
    const Prior& prior_;
    std::vector<std::uint8_t> actions_;
};

struct Solved {
    Solved(const Specifications& given, const Prior& prior, int threads)
        : n(room(given.count)), width(room(prior.longest)), counts(n), shortest_counts(n), nodes(n), mass(n), entropy(n), mode_mass(n),
          generalises(n), reach(n * (width + 1)), token_entropy(reach.size), shortest(n), mode_lengths(n), shortest_actions(n * width),
          mode_actions(n * width), mode_generalises(n) {
        Interrupt interrupt(nullptr);
        const SolveOutput out{counts.get(), mass.get(), entropy.get(), shortest.get(), shortest_counts.get(), shortest_actions.get(),
                              mode_lengths.get(), mode_mass.get(), mode_actions.get(), generalises.get(), mode_generalises.get(), reach.get(),
                              token_entropy.get(), nodes.get()};
        solve(given, prior, most_states, threads, out, interrupt);
    }
    std::size_t n, width;
    Exact<std::int64_t> counts, shortest_counts, nodes;
    Exact<double> mass, entropy, mode_mass, generalises, reach, token_entropy;
    Exact<std::int32_t> shortest, mode_lengths;
    Exact<std::uint8_t> shortest_actions, mode_actions, mode_generalises;
};

template <class T>
void same(const Exact<T>& one, const Exact<T>& other, const char* what) {
    const auto equal = [](T a, T b) { return a == b || (a != a && b != b); };
    if (!std::equal(one.get(), one.get() + one.size, other.get(), equal)) fuzz::differs(what);
}

void near(double found, double wanted, const char* what) {
    if (!(std::abs(found - wanted) <= 1e-9 * (1e-3 + std::abs(wanted)))) fuzz::differs(what);
}

bool starts_with(const Program& program, const std::uint8_t* prefix, std::size_t length) {
    return program.actions.size() >= length && std::equal(prefix, prefix + length, program.actions.begin());
}

void check_solution(const Solved& solved, std::size_t i, const std::vector<Program>& all) {
    if (solved.counts[i] != static_cast<std::int64_t>(all.size())) fuzz::differs("how many programs satisfy");
    if (all.empty()) return;
    double mass = 0, both = 0, best = 0, entropy = 0;
    for (const Program& program : all) {
        mass += program.chance;
        both += program.generalises ? program.chance : 0;
        best = std::max(best, program.chance);
    }
    for (const Program& program : all) entropy -= program.chance / mass * std::log(program.chance / mass);
    near(solved.mass[i], mass, "mass");
    near(solved.mode_mass[i], best, "the mode's mass");
    near(1 + solved.entropy[i], 1 + entropy, "entropy");
    near(1 + solved.generalises[i], 1 + both / mass, "the chance to generalise");
    const Program& first = all.front();
    if (solved.shortest[i] != static_cast<std::int32_t>(first.actions.size())) fuzz::differs("the shortest length");
    const auto as_short = std::count_if(all.begin(), all.end(), [&](const Program& p) { return p.actions.size() == first.actions.size(); });
    if (solved.shortest_counts[i] != as_short) fuzz::differs("how many are shortest");
    if (!std::equal(first.actions.begin(), first.actions.end(), solved.shortest_actions.get() + i * solved.width)) fuzz::differs("the shortest program");
    const std::uint8_t* mode = solved.mode_actions.get() + i * solved.width;
    const auto length = static_cast<std::size_t>(solved.mode_lengths[i]);
    const auto found = std::find_if(all.begin(), all.end(), [&](const Program& p) { return p.actions.size() == length && starts_with(p, mode, length); });
    if (found == all.end()) fuzz::differs("the mode satisfies nothing");
    near(found->chance, best, "the mode's chance");
    if (found->generalises != (solved.mode_generalises[i] != 0)) fuzz::differs("whether the mode generalises");
    double tokens = 0;
    for (std::size_t t = 0; t <= solved.width; ++t) {
        double longer = 0;
        for (const Program& program : all) longer += program.actions.size() >= t ? program.chance : 0;
        near(1 + solved.reach[i * (solved.width + 1) + t], 1 + longer / mass, "the chance of so many actions");
        tokens += solved.token_entropy[i * (solved.width + 1) + t];
    }
    near(1 + tokens, 1 + entropy, "the entropy of the next tokens together");
}

// The posterior along one program: beside all that begin alike, where any does; and always a distribution.
void check_along(const Specifications& given, const Prior& prior, const std::vector<std::vector<Program>>& programs, Bytes& bytes) {
    const std::size_t n = room(given.count), width = static_cast<std::size_t>(bytes.from(0, longest_by_hand + 2));
    Exact<std::uint8_t> actions(n * width);
    Exact<std::int32_t> lengths(n), on_track(n);
    Exact<double> rows(n * (width + 1) * choices);
    for (std::size_t i = 0; i < n; ++i) lengths[i] = static_cast<std::int32_t>(bytes.from(0, static_cast<std::int64_t>(width)));
    for (std::size_t at = 0; at < actions.size; ++at) actions[at] = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
    Interrupt interrupt(nullptr);
    solve_along(given, prior, most_states, static_cast<int>(width), actions.get(), lengths.get(), 1, rows.get(), on_track.get(), interrupt);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t t = 0; t <= static_cast<std::size_t>(lengths[i]); ++t) {
            const double* row = rows.get() + (i * (width + 1) + t) * choices;
            double sum = 0;
            for (int a = 0; a < choices; ++a) sum += row[a];
            near(sum, 1, "the chances of what comes next");
            if (programs.empty()) continue;
            std::array<double, choices> wanted{};
            double all = 0;
            for (const Program& program : programs[i]) {
                if (!starts_with(program, actions.get() + i * width, t)) continue;
                wanted[program.actions.size() == t ? action_count : program.actions[t]] += program.chance;
                all += program.chance;
            }
            if ((all > 0) != (on_track[i] >= static_cast<std::int32_t>(t))) fuzz::differs("how far a program is on track");
            for (int a = 0; all > 0 && a < choices; ++a) near(1 + row[a], 1 + wanted[static_cast<std::size_t>(a)] / all, "the posterior of what comes next");
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    const int height = static_cast<int>(bytes.from(3, 7)), width = static_cast<int>(bytes.from(3, 7));
    const int shown = static_cast<int>(bytes.from(1, 3)), examples = shown + static_cast<int>(bytes.from(0, 2));
    const bool by_hand = bytes.byte() >= 40;
    Prior prior{};
    prior.shortest = static_cast<int>(bytes.from(0, by_hand ? longest_by_hand : 12));
    prior.longest = prior.shortest + static_cast<int>(by_hand ? bytes.from(0, longest_by_hand - prior.shortest) : bytes.from(0, 20));
    std::uint32_t total = 0;
    for (auto& weight : prior.weights) total += weight = static_cast<std::uint32_t>(bytes.from(0, 6));
    for (auto& performed : prior.performed) performed = static_cast<std::uint8_t>(bytes.from(0, action_count - 1));
    prior.avoid_noops = bytes.byte() & 1;
    if (total == 0) return 0;  // refused before it comes to the core

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
            if (by_hand && (ring || (row == robot[0] && column == robot[1]))) all.walls[room(world * all.cells + cell)] = ring;
        }
    }
    // What a program makes of the worlds; now and then of another world, or changed.
    std::array<std::uint8_t, longest_by_hand> program{};
    const auto length = static_cast<std::size_t>(bytes.from(0, longest_by_hand));
    for (auto& action : program) action = prior.performed[static_cast<std::size_t>(bytes.from(0, action_count - 1))];
    for (std::int64_t world = 0; world < all.worlds; ++world) {
        Plain made(all, world);
        for (std::size_t k = 0; k < length; ++k) made.act(program[k]);
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

    std::vector<std::vector<Program>> programs;
    for (std::int64_t i = 0; by_hand && i < all.count; ++i) programs.push_back(Written(all, prior, i).found);
    try {
        const Solved solved(given, prior, 1), again(given, prior, 2);
        same(solved.counts, again.counts, "counts of two threads");
        same(solved.mass, again.mass, "masses of two threads");
        same(solved.entropy, again.entropy, "entropies of two threads");
        same(solved.mode_actions, again.mode_actions, "modes of two threads");
        same(solved.generalises, again.generalises, "chances of two threads");
        for (std::size_t i = 0; i < programs.size(); ++i) check_solution(solved, i, programs[i]);
        check_along(given, prior, programs, bytes);
        Graph graph;
        Interrupt interrupt(nullptr);
        for (std::int64_t i = 0; i < all.count; ++i) {
            solve_graph(given, prior, most_states, i, graph, interrupt);
            if (has_programs(graph) != (solved.counts[room(i)] > 0) || (has_programs(graph) && graph.counts[0] != solved.counts[room(i)])) fuzz::differs("the graph");
        }
    } catch (const std::invalid_argument&) {
        if (by_hand) fuzz::differs("short programs are refused");
    }
    return 0;
}
