#include "tokens.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "symbols.hpp"
#include "world.hpp"

namespace karel {
namespace {

constexpr int max_cells = max_side * max_side;

// WIDTH is the worlds' width if it is known when compiling, else 0.
template <int WIDTH, class Token>
void write_grid(const TokenLayout& layout, int height, int width_, const std::uint8_t* walls, const std::uint8_t* markers,
                const std::uint8_t* robot, Token* at) {
    const int width = WIDTH ? WIDTH : width_;
    const int cells = WIDTH ? WIDTH * WIDTH : height * width;
    std::uint8_t shown[WIDTH ? WIDTH * WIDTH : max_cells];
    for (int i = 0; i < cells; ++i) {
        const std::uint8_t count = markers[i] < most_shown ? markers[i] : most_shown;
        shown[i] = walls[i] ? wall_shown : count;
    }
    shown[robot[0] * width + robot[1]] = static_cast<std::uint8_t>(robot_shown + robot[2]);
    const auto first = static_cast<Token>(layout.first_cell);
    const int cols = width - 2;
    for (int row = 1; row < (WIDTH ? WIDTH : height) - 1; ++row) {
        const std::uint8_t* from = shown + row * width + 1;
        Token* to = at + (row - 1) * layout.row_step;
        if (layout.cell_step == 1) {
            for (int col = 0; col < cols; ++col) to[col] = static_cast<Token>(first + from[col]);
        } else {
            for (int col = 0; col < cols; ++col) to[col * layout.cell_step] = static_cast<Token>(first + from[col]);
        }
    }
}

template <class Token>
class RowWriter {
public:
    RowWriter(Token* begin, Token* end) : next_(begin), end_(end) {}
    void put(int token) {
        if (next_ == end_) throw std::invalid_argument("a program is too long for the tokenizer's rows");
        *next_++ = static_cast<Token>(token);
    }
    void put(int token, int times) {
        for (int i = 0; i < times; ++i) put(token);
    }
    void pad(int token) { std::fill(next_, end_, static_cast<Token>(token)); }

private:
    Token* next_;
    Token* end_;
};

// The symbol's token.
int token_of(const TokenLayout& layout, std::uint8_t symbol) {
    const std::uint16_t token = layout.token_of_symbol[symbol];
    if (token == layout.pad) throw std::invalid_argument("a program has symbol " + std::to_string(symbol) + ", for which the layout has no token");
    return token;
}

template <class Token>
void write_lines(const TokenLayout& layout, const std::uint8_t* symbols, int length, RowWriter<Token>& out) {
    int depth = 1;
    bool paren = false;  // the block that opens next has a condition or count in parentheses
    for (int i = 0; i < length; ++i) {
        const std::uint8_t symbol = symbols[i];
        const int token = token_of(layout, symbol);
        if (symbol < symbol_if) {
            out.put(layout.indent, depth);
            out.put(token);
            out.put(layout.newline);
        } else if (symbol <= symbol_else) {
            out.put(layout.indent, depth);
            out.put(token);
            paren = symbol != symbol_else;
        } else if (symbol == symbol_open) {
            if (paren) out.put(layout.right_paren);
            out.put(token);
            out.put(layout.newline);
            ++depth;
        } else if (symbol == symbol_close) {
            --depth;
            out.put(layout.indent, depth - 1);
            out.put(token);
            out.put(layout.newline);
        } else {  // `not`, a condition or a repeat count
            out.put(token);
        }
    }
}

}  // namespace

template <class Token>
void encode_row(const TokenLayout& layout, const SampleArrays& samples, std::int64_t sample, Token* row) {
    const std::size_t prompt = layout.prompt.size();
    if constexpr (sizeof(Token) == sizeof(std::uint16_t)) {
        std::memcpy(row, layout.prompt.data(), prompt * sizeof(Token));
    } else {
        for (std::size_t i = 0; i < prompt; ++i) row[i] = static_cast<Token>(layout.prompt[i]);
    }
    const auto write = samples.height == 8 && samples.width == 8 ? write_grid<8, Token> : write_grid<0, Token>;
    const std::int64_t cells = samples.height * samples.width;
    const auto shown = static_cast<std::int64_t>(layout.grid_starts.size() / 2);
    for (std::int64_t k = 0; k < shown; ++k) {
        const std::int64_t world = sample * samples.examples + k;
        write(layout, samples.height, samples.width, samples.walls + world * cells, samples.markers + world * cells,
              samples.robot + 3 * world, row + layout.grid_starts[static_cast<std::size_t>(2 * k)]);
        write(layout, samples.height, samples.width, samples.out_walls + world * cells, samples.out_markers + world * cells,
              samples.out_robot + 3 * world, row + layout.grid_starts[static_cast<std::size_t>(2 * k + 1)]);
    }
    RowWriter<Token> out(row + prompt, row + layout.row_length);
    const std::uint8_t* symbols = samples.symbols + sample * samples.symbol_width;
    const int length = samples.lengths[sample];
    switch (layout.writer) {
        case ProgramWriter::symbols:
            for (int i = 0; i < length; ++i) out.put(token_of(layout, symbols[i]));
            break;
        case ProgramWriter::lines: write_lines(layout, symbols, length, out); break;
    }
    out.put(layout.end);
    out.pad(layout.pad);
}

template <class Token>
bool encode(const TokenLayout& layout, const SampleArrays& samples, int threads, Token* rows, Interrupt& interrupt) {
    return parallel_for(samples.count, 256, threads, interrupt, [&](std::int64_t begin, std::int64_t end, const Worker&) {
        for (std::int64_t i = begin; i < end; ++i) encode_row(layout, samples, i, rows + i * layout.row_length);
    });
}

template void encode_row(const TokenLayout&, const SampleArrays&, std::int64_t, std::uint8_t*);
template void encode_row(const TokenLayout&, const SampleArrays&, std::int64_t, std::uint16_t*);
template bool encode(const TokenLayout&, const SampleArrays&, int, std::uint8_t*, Interrupt&);
template bool encode(const TokenLayout&, const SampleArrays&, int, std::uint16_t*, Interrupt&);

}  // namespace karel
