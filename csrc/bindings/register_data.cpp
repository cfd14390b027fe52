#include <pybind11/stl.h>

#include "../karel/packing.hpp"
#include "../karel/philox.hpp"
#include "../karel/sampler.hpp"
#include "../karel/tokens.hpp"
#include "../karel/world.hpp"
#include "arrays.hpp"
#include "interrupt.hpp"
#include "register.hpp"

namespace karel::bindings {
namespace {

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

// From karel_fast.data.layouts.Layout, by its field names, for worlds of one size.
TokenLayout make_layout(const py::handle& source, int height, int width, int row_length) {
    const auto get = [&](const char* name) { return source.attr(name).cast<int>(); };
    const auto token = [&](const char* name) { return static_cast<std::uint16_t>(get(name)); };
    TokenLayout layout{};
    const auto tokens = source.attr("template").cast<array>();
    const auto* ids = checked<std::int64_t>(tokens, "template", {-1});
    layout.prompt.assign(ids, ids + tokens.size());
    layout.grid_starts = source.attr("grid_starts").cast<std::vector<std::int32_t>>();
    layout.cell_step = get("cell_step");
    layout.row_step = get("row_step");
    layout.row_length = row_length;
    layout.first_cell = token("first_cell");
    layout.first_action = token("first_action");
    layout.pad = token("pad_id");
    layout.end = token("end_id");
    layout.lines = get("tokens_per_action") == 3;
    const auto line_tokens = source.attr("line_tokens").cast<std::array<std::uint16_t, 7>>();
    std::tie(layout.indent, layout.newline, layout.open, layout.right_paren, layout.close, layout.first_control, layout.first_count) =
        std::tuple_cat(line_tokens);

    const auto prompt = static_cast<std::int64_t>(layout.prompt.size());
    const std::int64_t grid = static_cast<std::int64_t>(height - 3) * layout.row_step + static_cast<std::int64_t>(width - 3) * layout.cell_step;
    bool fits = row_length >= prompt && layout.cell_step >= 1 && layout.row_step >= 1 && layout.grid_starts.size() % 2 == 0;
    for (const std::int32_t start : layout.grid_starts) fits = fits && start >= 0 && start + grid < prompt;
    if (!fits) throw py::value_error("the layout does not fit worlds of this size");
    return layout;
}

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

void check_range(std::int64_t start, std::int64_t count, int threads) {
    if (start < 0 || count < 0 || start > (std::int64_t{1} << 56) - count) throw py::value_error("samples must be in 0..2**56-1");
    if (threads < 1) throw py::value_error("threads must be at least 1");
}

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

template <class Token>
py::tuple token_rows(const Plan& plan, const TokenLayout& layout, std::int64_t start, std::int64_t count, int threads) {
    Made<Token> rows({count, layout.row_length});
    Made<std::int32_t> lengths({count});
    run_interruptibly([&](Interrupt& interrupt) {
        return sample_tokens(plan, layout, start, count, threads, rows.data, lengths.data, interrupt);
    });
    return py::make_tuple(rows.array, lengths.array);
}

py::tuple tokens(const py::handle& source, const py::handle& layout_source, int row_length, bool wide, std::int64_t start,
                 std::int64_t count, int threads) {
    const Plan plan = make_plan(source);
    if (plan.has_control) throw py::value_error("the recipe has control flow");
    check_range(start, count, threads);
    const TokenLayout layout = make_layout(layout_source, plan.height, plan.width, row_length);
    if (layout.grid_starts.size() != 2 * static_cast<std::size_t>(plan.shown)) throw py::value_error("the layout shows other examples");
    return wide ? token_rows<std::uint16_t>(plan, layout, start, count, threads)
                : token_rows<std::uint8_t>(plan, layout, start, count, threads);
}

template <class Token>
array encoded(const TokenLayout& layout, const SampleArrays& samples, int threads) {
    Made<Token> rows({samples.count, layout.row_length});
    run_interruptibly([&](Interrupt& interrupt) { return encode(layout, samples, threads, rows.data, interrupt); });
    return rows.array;
}

array encode_samples(const py::handle& layout_source, int row_length, bool wide, int examples, const array& symbols,
                     const array& lengths, const array& walls, const array& markers, const array& robot, const array& out_walls,
                     const array& out_markers, const array& out_robot, int threads) {
    if (walls.ndim() != 3 || symbols.ndim() != 2) throw py::value_error("walls must have 3 and symbols 2 dimensions");
    if (examples < 1 || threads < 1) throw py::value_error("examples and threads must be at least 1");
    const auto count = symbols.shape(0), height = walls.shape(1), width = walls.shape(2), n = count * examples;
    if (height < min_side || height > max_side || width < min_side || width > max_side) throw py::value_error("worlds must be 3..64 cells each side");
    const auto bytes = [&](const array& flags, const char* name) {
        return reinterpret_cast<const std::uint8_t*>(checked<bool>(flags, name, {n, height, width}));
    };
    const SampleArrays samples{count,
                               examples,
                               static_cast<int>(height),
                               static_cast<int>(width),
                               static_cast<int>(symbols.shape(1)),
                               checked<std::uint8_t>(symbols, "symbols", {count, -1}),
                               checked<std::int32_t>(lengths, "lengths", {count}),
                               bytes(walls, "walls"),
                               checked<std::uint8_t>(markers, "markers", {n, height, width}),
                               checked<std::uint8_t>(robot, "robot", {n, 3}),
                               bytes(out_walls, "out_walls"),
                               checked<std::uint8_t>(out_markers, "out_markers", {n, height, width}),
                               checked<std::uint8_t>(out_robot, "out_robot", {n, 3})};
    for (const std::uint8_t* poses : {samples.robot, samples.out_robot}) {
        check_worlds({n, samples.height, samples.width, samples.walls, samples.markers, poses});
    }
    for (py::ssize_t i = 0; i < count; ++i) {
        if (samples.lengths[i] < 0 || samples.lengths[i] > samples.symbol_width) throw py::value_error("lengths must be 0..width of symbols");
    }
    const TokenLayout layout = make_layout(layout_source, samples.height, samples.width, row_length);
    if (layout.grid_starts.size() > 2 * static_cast<std::size_t>(examples)) throw py::value_error("the layout shows more examples than there are");
    return wide ? encoded<std::uint16_t>(layout, samples, threads) : encoded<std::uint8_t>(layout, samples, threads);
}

py::tuple pack_samples(int examples, const array& walls, const array& markers, const array& robot, const array& out_markers,
                       const array& out_robot, int threads) {
    if (walls.ndim() != 3) throw py::value_error("walls must have 3 dimensions");
    const auto n = walls.shape(0), height = walls.shape(1), width = walls.shape(2);
    if (examples < 1 || threads < 1 || n % examples) throw py::value_error("worlds must be as many for every sample");
    const auto count = n / examples;
    const SampleArrays samples{count,
                               examples,
                               static_cast<int>(height),
                               static_cast<int>(width),
                               0,
                               nullptr,
                               nullptr,
                               reinterpret_cast<const std::uint8_t*>(checked<bool>(walls, "walls", {n, height, width})),
                               checked<std::uint8_t>(markers, "markers", {n, height, width}),
                               checked<std::uint8_t>(robot, "robot", {n, 3}),
                               nullptr,
                               checked<std::uint8_t>(out_markers, "out_markers", {n, height, width}),
                               checked<std::uint8_t>(out_robot, "out_robot", {n, 3})};
    check_worlds({n, samples.height, samples.width, samples.walls, samples.markers, samples.robot});
    check_worlds({n, samples.height, samples.width, samples.walls, samples.out_markers, samples.out_robot});
    const py::ssize_t inside = (height - 2) * (width - 2), bits = bit_bytes(examples, inside);
    Made<std::uint8_t> packed_walls({count, bits}), packed_markers({count, bits}), poses({count, 2 * examples}),
        changes({count, examples * inside}), out_poses({count, 2 * examples});
    const PackedArrays out{packed_walls.data, packed_markers.data, poses.data, changes.data, out_poses.data};
    run_interruptibly([&](Interrupt& interrupt) { return pack(samples, out, threads, interrupt); });
    return py::make_tuple(packed_walls.array, packed_markers.array, poses.array, changes.array, out_poses.array);
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
    module.def("sample_tokens", &tokens, arg("plan"), arg("layout"), arg("row_length"), arg("wide"), arg("start"), arg("count"),
               arg("threads"));
    module.def("encode_samples", &encode_samples, arg("layout"), arg("row_length"), arg("wide"), arg("examples"), arg("symbols"),
               arg("lengths"), arg("walls"), arg("markers"), arg("robot"), arg("out_walls"), arg("out_markers"), arg("out_robot"),
               arg("threads"));
    module.def("pack_samples", &pack_samples, arg("examples"), arg("walls"), arg("markers"), arg("robot"), arg("out_markers"),
               arg("out_robot"), arg("threads"));
    module.def("philox", &philox, arg("seed"), arg("counters"),
               "Each counter's block (uint32) by the one-block code, and as 16-bit values by the many-block code, which takes\n"
               "the last two counter words from the first row.");
}
