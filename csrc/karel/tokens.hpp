// Writes samples as token rows; karel_fast/data/tokens/layout.py says what a layout is.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "threads.hpp"

namespace karel {

// How a program's symbols become tokens.
enum class ProgramWriter : std::uint8_t {
    symbols,  // each symbol's token, in turn
    lines,    // a statement a line, indented by how deep it stands
};

// What a layout comes down to for worlds of one size. Token ids fit in 16 bits.
struct TokenLayout {
    std::vector<std::uint16_t> prompt;      // a whole prompt with every cell shown as empty
    std::vector<std::int32_t> grid_starts;  // where each grid's first cell stands: input, output, input, ..
    int cell_step;                          // from a cell to the next in its row
    int row_step;                           // from a row's first cell to the next row's
    int row_length;                         // tokens in a row of the output, padding included
    std::uint16_t first_cell;               // + what the cell shows
    std::uint16_t pad;
    std::uint16_t end;
    std::array<std::uint16_t, 256> token_of_symbol;  // `pad` where the layout has none
    ProgramWriter writer;
    std::uint16_t indent, newline, right_paren;  // of ProgramWriter::lines
};

struct SampleArrays {
    std::int64_t count;
    int examples;  // E, of which the layout shows the first grid_starts.size() / 2
    int height;
    int width;
    int symbol_width;
    const std::uint8_t* symbols;      // (n, W)
    const std::int32_t* lengths;      // (n,)
    const std::uint8_t* walls;        // (n * E, H, W), of inputs and outputs
    const std::uint8_t* markers;      // (n * E, H, W)
    const std::uint8_t* robot;        // (n * E, 3)
    const std::uint8_t* out_walls;
    const std::uint8_t* out_markers;
    const std::uint8_t* out_robot;
};

// One row of layout.row_length tokens per sample; Token is uint8_t or uint16_t. Returns false if interrupted.
template <class Token>
bool encode(const TokenLayout& layout, const SampleArrays& samples, int threads, Token* rows, Interrupt& interrupt);

// One sample's row. Throws std::invalid_argument if the program does not fit, or has a symbol without a token.
template <class Token>
void encode_row(const TokenLayout& layout, const SampleArrays& samples, std::int64_t sample, Token* row);

}  // namespace karel
