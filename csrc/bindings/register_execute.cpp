#include <pybind11/stl.h>

#include <limits>

#include "../karel/execute.hpp"
#include "arrays.hpp"
#include "interrupt.hpp"
#include "register.hpp"

namespace karel::bindings {
namespace {

using py::array;

ProgramBatch program_batch(const array& content, const array& starts, const array& lengths, std::int64_t slots, bool straight_line) {
    const auto count = starts.size();
    // What an instruction can name; also keeps a forged count from exhausting the memory.
    if (slots < 0 || slots > (std::int64_t{1} << 24)) throw py::value_error("slots must be 0..2**24, got " + std::to_string(slots));
    return {count,
            straight_line ? checked<std::uint8_t>(content, "actions", {-1}) : nullptr,
            straight_line ? nullptr : checked<std::int64_t>(content, "code", {-1}),
            content.size(),
            checked<std::int64_t>(starts, "starts", {count}),
            checked<std::int32_t>(lengths, "lengths", {count}),
            slots};
}

WorldBatch world_batch(const array& walls, const array& markers, const array& robot) {
    if (walls.ndim() != 3) throw py::value_error("walls must have shape (N, H, W)");
    const auto count = walls.shape(0), height = walls.shape(1), width = walls.shape(2);
    check_sides(height, width);
    return {count,
            static_cast<int>(height),
            static_cast<int>(width),
            reinterpret_cast<const std::uint8_t*>(checked<bool>(walls, "walls", {count, height, width})),
            checked<std::uint8_t>(markers, "markers", {count, height, width}),
            checked<std::uint8_t>(robot, "robot", {count, 3})};
}

Options options(const array& performed, std::int64_t max_steps, bool crash, int threads) {
    const auto* table = checked<std::uint8_t>(performed, "performed", {action_count});
    Options result{{}, max_steps, crash, threads};
    for (int written = 0; written < action_count; ++written) {
        if (table[written] >= action_count) throw py::value_error("performed holds unknown action code " + std::to_string(table[written]));
        result.performed[static_cast<std::size_t>(written)] = table[written];
    }
    if (max_steps < 1 || max_steps > std::numeric_limits<std::int32_t>::max()) {
        throw py::value_error("max_steps must be 1..2**31-1, got " + std::to_string(max_steps));
    }
    if (threads < 1) throw py::value_error("threads must be at least 1, got " + std::to_string(threads));
    return result;
}

py::tuple run_programs(const array& content, const array& starts, const array& lengths, std::int64_t slots, bool straight_line,
                       const array& walls, const array& markers, const array& robot, const array& performed,
                       std::int64_t max_steps, bool crash, int threads) {
    const ProgramBatch programs = program_batch(content, starts, lengths, slots, straight_line);
    const WorldBatch worlds = world_batch(walls, markers, robot);
    const Options chosen = options(performed, max_steps, crash, threads);
    const auto n = static_cast<py::ssize_t>(worlds.count);
    Made<std::uint8_t> markers_after({n, worlds.height, worlds.width});
    Made<std::uint8_t> robot_after({n, 3});
    Made<std::int32_t> steps({n});
    Made<std::uint8_t> status({n});
    const RunOutput out{markers_after.data, robot_after.data, steps.data, status.data};
    run_interruptibly([&](Interrupt& interrupt) { return run(programs, worlds, chosen, out, interrupt); });
    return py::make_tuple(markers_after.array, robot_after.array, steps.array, status.array);
}

py::tuple trace_programs(const array& content, const array& starts, const array& lengths, std::int64_t slots, bool straight_line,
                         const array& walls, const array& markers, const array& robot, const array& performed,
                         std::int64_t max_steps, bool crash, int threads, std::int64_t width) {
    if (width < 0 || width > std::numeric_limits<std::int32_t>::max()) {
        throw py::value_error("width must be 0..2**31-1, got " + std::to_string(width));
    }
    const ProgramBatch programs = program_batch(content, starts, lengths, slots, straight_line);
    const WorldBatch worlds = world_batch(walls, markers, robot);
    const Options chosen = options(performed, max_steps, crash, threads);
    const auto n = static_cast<py::ssize_t>(worlds.count);
    const auto s = static_cast<py::ssize_t>(width);
    Made<std::int8_t> actions({n, s});
    Made<std::uint8_t> robot_at({n, s + 1, 3});
    Made<std::uint8_t> markers_here({n, s + 1});
    Made<bool> front({n, s + 1});
    Made<bool> left({n, s + 1});
    Made<bool> right({n, s + 1});
    Made<std::int32_t> steps({n});
    Made<std::uint8_t> status({n});
    const auto bytes = [](Made<bool>& made) { return reinterpret_cast<std::uint8_t*>(made.data); };
    const TraceOutput out{width,       actions.data, robot_at.data, markers_here.data, bytes(front),
                          bytes(left), bytes(right), steps.data,    status.data};
    run_interruptibly([&](Interrupt& interrupt) { return trace(programs, worlds, chosen, out, interrupt); });
    return py::make_tuple(actions.array, robot_at.array, markers_here.array, front.array, left.array, right.array, steps.array,
                          status.array);
}

// The names and meanings of the words, by code.
template <std::size_t N>
std::vector<std::pair<std::string, int>> words(const Word (&table)[N]) {
    std::vector<std::pair<std::string, int>> result;
    for (const Word& word : table) result.emplace_back(word.name, word.meaning);
    return result;
}

}  // namespace
}  // namespace karel::bindings

void register_execute(pybind11::module_& module) {
    using namespace karel::bindings;
    using py::arg;
    module.def("run", &run_programs, arg("content"), arg("starts"), arg("lengths"), arg("slots"), arg("straight_line"),
               arg("walls"), arg("markers"), arg("robot"), arg("performed"), arg("max_steps"), arg("crash"), arg("threads"));
    module.def("trace", &trace_programs, arg("content"), arg("starts"), arg("lengths"), arg("slots"), arg("straight_line"),
               arg("walls"), arg("markers"), arg("robot"), arg("performed"), arg("max_steps"), arg("crash"), arg("threads"),
               arg("width"));
    module.def("vocabulary", [] { return std::make_pair(words(karel::action_words), words(karel::condition_words)); });
    module.def("instruction_set", &karel::instruction_set);
    module.def("instruction_sets", &karel::instruction_sets);
}
