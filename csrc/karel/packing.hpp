// Packs samples' worlds into the columns that karel_fast/data/storage/packing.py describes.
#pragma once
#include <cstdint>

#include "threads.hpp"
#include "tokens.hpp"

namespace karel {

// What one sample of E worlds with C interior cells each takes.
inline std::int64_t bit_bytes(std::int64_t worlds, std::int64_t inside) { return (worlds * inside + 7) / 8; }

struct PackedArrays {
    std::uint8_t* walls;           // (n, bit_bytes)
    std::uint8_t* markers;         // (n, bit_bytes)
    std::uint8_t* robot;           // (n, 2E)
    std::uint8_t* output_markers;  // (n, E * C): after minus before
    std::uint8_t* output_robot;    // (n, 2E)
};

// Returns false if interrupted. Only the worlds of `samples` are looked at; out_walls is not.
bool pack(const SampleArrays& samples, const PackedArrays& out, int threads, Interrupt& interrupt);

}  // namespace karel
