#include <pybind11/stl.h>

#include "../karel/packing.hpp"
#include "../karel/sampler.hpp"
#include "../karel/tokens.hpp"
#include "../karel/world.hpp"
#include "arrays.hpp"
#include "interrupt.hpp"
#include "plan.hpp"
#include "register.hpp"

namespace karel::bindings {
namespace {

using py::array;

ProgramWriter make_writer(const std::string& name) {
    if (name == "symbols") return ProgramWriter::symbols;
    if (name == "lines") return ProgramWriter::lines;
    throw py::value_error("the core has no way of writing programs called '" + name + "'; it has 'symbols' and 'lines'");
}

// From karel_fast.data.tokens.layout.Layout, by its attributes, for worlds of one size.
TokenLayout make_layout(const py::handle& source, int height, int width, int row_length) {
    const auto get = [&](const char* name) { return source.attr(name).cast<int>(); };
    const auto token = [&](const char* name) { return static_cast<std::uint16_t>(get(name)); };
    TokenLayout layout{};
    const auto prompt_tokens = source.attr("template").cast<array>();
    const auto* ids = checked<std::int64_t>(prompt_tokens, "template", {-1});
    layout.prompt.assign(ids, ids + prompt_tokens.size());
    layout.grid_starts = source.attr("grid_starts").cast<std::vector<std::int32_t>>();
    layout.cell_step = get("cell_step");
    layout.row_step = get("row_step");
    layout.row_length = row_length;
    layout.first_cell = token("first_cell");
    layout.pad = token("pad_id");
    layout.end = token("end_id");
    const auto symbol_tokens = source.attr("token_of_symbol").cast<array>();
    const auto* of_symbol = checked<std::int64_t>(symbol_tokens, "token_of_symbol", {static_cast<py::ssize_t>(layout.token_of_symbol.size())});
    std::copy_n(of_symbol, layout.token_of_symbol.size(), layout.token_of_symbol.begin());
    layout.writer = make_writer(source.attr("program_writer").cast<std::string>());
    if (layout.writer == ProgramWriter::lines) {
        const auto line_tokens = source.attr("line_tokens").cast<std::array<std::uint16_t, 3>>();
        std::tie(layout.indent, layout.newline, layout.right_paren) = std::tuple_cat(line_tokens);
    }

    const auto prompt = static_cast<std::int64_t>(layout.prompt.size());
    const std::int64_t grid = static_cast<std::int64_t>(height - 3) * layout.row_step + static_cast<std::int64_t>(width - 3) * layout.cell_step;
    bool fits = row_length >= prompt && layout.cell_step >= 1 && layout.row_step >= 1 && layout.grid_starts.size() % 2 == 0;
    for (const std::int32_t start : layout.grid_starts) fits = fits && start >= 0 && start + grid < prompt;
    if (!fits) throw py::value_error("the layout does not fit worlds of this size");
    return layout;
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
    check_sides(height, width);
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

}  // namespace
}  // namespace karel::bindings

void register_tokens(pybind11::module_& module) {
    using namespace karel::bindings;
    using py::arg;
    module.def("sample_tokens", &tokens, arg("plan"), arg("layout"), arg("row_length"), arg("wide"), arg("start"), arg("count"),
               arg("threads"));
    module.def("encode_samples", &encode_samples, arg("layout"), arg("row_length"), arg("wide"), arg("examples"), arg("symbols"),
               arg("lengths"), arg("walls"), arg("markers"), arg("robot"), arg("out_walls"), arg("out_markers"), arg("out_robot"),
               arg("threads"));
    module.def("pack_samples", &pack_samples, arg("examples"), arg("walls"), arg("markers"), arg("robot"), arg("out_markers"),
               arg("out_robot"), arg("threads"));
}
