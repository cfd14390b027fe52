#include <pybind11/stl.h>

#include "../karel/philox.hpp"
#include "../karel/sampler.hpp"
#include "arrays.hpp"
#include "interrupt.hpp"
#include "plan.hpp"
#include "register.hpp"

namespace karel::bindings {

using py::array;

// From karel_fast.data.sampling.plan.Plan, by its field names.
Plan make_plan(const py::handle& source) {
    const auto get = [&](const char* name) { return source.attr(name); };
    Plan plan{};
    plan.height = get("height").cast<int>();
    plan.width = get("width").cast<int>();
    plan.worlds = get("worlds").cast<int>();
    plan.shown = get("shown").cast<int>();
    plan.wall_end = get("wall_end").cast<std::uint32_t>();
    plan.marker_end = get("marker_end").cast<std::uint32_t>();
    plan.shortest = get("shortest").cast<std::uint32_t>();
    plan.longest = get("longest").cast<std::uint32_t>();
    plan.symbol_width = get("symbol_width").cast<int>();
    plan.action_weights = get("action_weights").cast<decltype(plan.action_weights)>();
    plan.performed = get("performed").cast<decltype(plan.performed)>();
    plan.avoid_noops = get("avoid_noops").cast<bool>();
    plan.split = get("split").cast<std::uint32_t>();
    plan.hash_first = get("hash_first").cast<std::uint64_t>();
    plan.hash_last = get("hash_last").cast<std::uint64_t>();
    plan.seed = get("seed").cast<std::uint64_t>();
    plan.max_attempts = get("max_attempts").cast<std::int64_t>();
    const auto control = get("control");
    plan.has_control = !control.is_none();
    if (plan.has_control) {
        plan.statement_weights = control.attr("statement_weights").cast<decltype(plan.statement_weights)>();
        plan.condition_weights = control.attr("condition_weights").cast<decltype(plan.condition_weights)>();
        plan.negate = control.attr("negate").cast<bool>();
        plan.depth = control.attr("depth").cast<std::uint32_t>();
        plan.lowest_count = control.attr("lowest_count").cast<std::uint32_t>();
        plan.highest_count = control.attr("highest_count").cast<std::uint32_t>();
    }
    check_plan(plan);
    return plan;
}

void check_range(std::int64_t start, std::int64_t count, int threads) {
    if (start < 0 || count < 0 || start > (std::int64_t{1} << 56) - count) throw py::value_error("samples must be in 0..2**56-1");
    // So that no size in bytes is beyond 64 bits: a sample takes less than 2**22.
    if (count >= std::int64_t{1} << 31) throw py::value_error("at most 2**31-1 samples are drawn at once");
    if (threads < 1) throw py::value_error("threads must be at least 1");
}

namespace {

// Arrays that share one allocation. Many arrays of a few MB each would be given back to the system when freed and faulted in
// again by the next batch, which costs more than drawing the samples; one is kept by malloc, or gets huge pages.
class Arena {
public:
    explicit Arena(std::int64_t bytes) : memory_(static_cast<py::ssize_t>(bytes)), next_(memory_.mutable_data()), left_(bytes) {}

    // What an array of so many elements takes up.
    template <class T>
    static std::int64_t room(std::int64_t elements) {
        return (elements * static_cast<std::int64_t>(sizeof(T)) + alignment - 1) / alignment * alignment;
    }

    template <class T>
    py::array_t<T> make(std::vector<py::ssize_t> shape) {
        std::int64_t elements = 1;
        for (const auto extent : shape) elements *= extent;
        left_ -= room<T>(elements);
        if (left_ < 0) throw std::logic_error("arena too small");
        auto* data = reinterpret_cast<T*>(next_);
        next_ += room<T>(elements);
        return py::array_t<T>(std::move(shape), data, memory_);
    }

private:
    static constexpr std::int64_t alignment = 64;
    py::array_t<std::uint8_t> memory_;
    std::uint8_t* next_;
    std::int64_t left_;
};

// The worlds of n samples.
struct Pictures {
    py::array_t<bool> walls;
    py::array_t<std::uint8_t> markers, robot;

    static std::int64_t room(const Plan& plan, std::int64_t samples) {
        const std::int64_t n = samples * plan.worlds;
        return 2 * Arena::room<std::uint8_t>(n * plan.height * plan.width) + Arena::room<std::uint8_t>(3 * n);
    }
    Pictures(Arena& arena, const Plan& plan, py::ssize_t samples)
        : walls(arena.make<bool>({samples * plan.worlds, plan.height, plan.width})),
          markers(arena.make<std::uint8_t>({samples * plan.worlds, plan.height, plan.width})),
          robot(arena.make<std::uint8_t>({samples * plan.worlds, 3})) {}
    WorldArrays arrays() {
        return {reinterpret_cast<std::uint8_t*>(walls.mutable_data()), markers.mutable_data(), robot.mutable_data()};
    }
};

py::tuple straight(const py::handle& source, std::int64_t start, std::int64_t count, int threads) {
    const Plan plan = make_plan(source);
    if (plan.has_control) throw py::value_error("the recipe has control flow");
    check_range(start, count, threads);
    const std::int64_t n = count * plan.worlds;
    Arena arena(Pictures::room(plan, count) + Arena::room<std::uint8_t>(count * plan.symbol_width) + Arena::room<std::int32_t>(count) +
                Arena::room<std::uint8_t>(n * plan.height * plan.width) + Arena::room<std::uint8_t>(3 * n));
    Pictures inputs(arena, plan, count);
    auto symbols = arena.make<std::uint8_t>({count, plan.symbol_width});
    auto lengths = arena.make<std::int32_t>({count});
    auto out_markers = arena.make<std::uint8_t>({n, plan.height, plan.width});
    auto out_robot = arena.make<std::uint8_t>({n, 3});
    const ProgramArrays programs{symbols.mutable_data(), lengths.mutable_data()};
    const WorldArrays pictures = inputs.arrays();
    std::uint8_t* const markers_after = out_markers.mutable_data();
    std::uint8_t* const robot_after = out_robot.mutable_data();
    run_interruptibly([&](Interrupt& interrupt) {
        return sample_straight(plan, start, count, threads, programs, pictures, markers_after, robot_after, interrupt);
    });
    return py::make_tuple(symbols, lengths, inputs.walls, inputs.markers, inputs.robot, out_markers, out_robot);
}

py::tuple worlds(const py::handle& source, std::int64_t start, std::int64_t count, int threads) {
    const Plan plan = make_plan(source);
    check_range(start, count, threads);
    Arena arena(Pictures::room(plan, count));
    Pictures inputs(arena, plan, count);
    const WorldArrays pictures = inputs.arrays();
    run_interruptibly([&](Interrupt& interrupt) { return sample_worlds(plan, start, count, threads, pictures, interrupt); });
    return py::make_tuple(inputs.walls, inputs.markers, inputs.robot);
}

py::tuple programs(const py::handle& source, const array& indices, const array& attempts, int threads) {
    const Plan plan = make_plan(source);
    if (!plan.has_control) throw py::value_error("the recipe has no control flow");
    const auto count = indices.size();
    const auto* wanted = checked<std::int64_t>(indices, "indices", {count});
    const auto* from = checked<std::int64_t>(attempts, "attempts", {count});
    for (py::ssize_t i = 0; i < count; ++i) {
        check_range(wanted[i], 1, threads);
        if (from[i] < 0) throw py::value_error("attempts must not be negative");
    }
    Made<std::uint8_t> symbols({count, plan.symbol_width});
    Made<std::int32_t> lengths({count});
    Made<std::int64_t> used({count});
    run_interruptibly([&](Interrupt& interrupt) {
        return sample_programs(plan, count, wanted, from, threads, {symbols.data, lengths.data}, used.data, interrupt);
    });
    return py::make_tuple(symbols.array, lengths.array, used.array);
}

// Blocks of one key as rows of eight 16-bit values: counters is uint32 (n, 4), of which words 2 and 3 are those of row 0.
py::tuple philox(std::uint64_t seed, const array& counters) {
    const auto count = counters.ndim() == 2 ? counters.shape(0) : 0;
    const auto* words = checked<std::uint32_t>(counters, "counters", {count, 4});
    const PhiloxKey key{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
    Made<std::uint32_t> scalar({count, 4});
    const auto padded = static_cast<std::size_t>((count + philox_group - 1) / philox_group * philox_group);
    std::vector<BlockAddress> addresses(padded);
    std::vector<std::uint16_t> values(8 * padded);
    for (py::ssize_t i = 0; i < count; ++i) {
        const std::uint32_t* c = words + 4 * i;
        const auto block = philox_block(key, {c[0], c[1], c[2], c[3]});
        std::copy(block.begin(), block.end(), scalar.data + 4 * i);
        addresses[static_cast<std::size_t>(i)] = {c[0], c[1], {}};
    }
    if (count) philox_fill(key, words[2], words[3], addresses.data(), static_cast<int>(padded), values.data());
    Made<std::uint16_t> many({count, 8});
    std::copy_n(values.data(), 8 * count, many.data);
    return py::make_tuple(scalar.array, many.array);
}

}  // namespace
}  // namespace karel::bindings

void register_data(pybind11::module_& module) {
    using namespace karel::bindings;
    using py::arg;
    module.def("sample_straight", &straight, arg("plan"), arg("start"), arg("count"), arg("threads"));
    module.def("sample_worlds", &worlds, arg("plan"), arg("start"), arg("count"), arg("threads"));
    module.def("sample_programs", &programs, arg("plan"), arg("indices"), arg("attempts"), arg("threads"));
    module.def("philox", &philox, arg("seed"), arg("counters"),
               "Each counter's block (uint32) by the one-block code, and as 16-bit values by the many-block code, which takes\n"
               "the last two counter words from the first row.");
}
