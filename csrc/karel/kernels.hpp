// The kernels' interface: the same code compiled for several instruction sets (kernels_*.cpp), chosen in execute.cpp.
#pragma once
#include "execute.hpp"

namespace karel {

struct Job {
    const ProgramBatch& programs;
    const WorldBatch& worlds;
    const Geometry& geometry;
    const Options& options;
    std::int64_t longest;  // length of the longest of the programs that begin..end run
    const RunOutput* run;  // exactly one of these two is set
    const TraceOutput* trace;
};

// Memory that one thread's runs reuse.
struct Scratch {
    std::uint64_t* open;    // (words,) cells that are no wall
    std::uint8_t* markers;  // (cells,)
    std::int64_t* counters; // (slots,) of running repeats
};

// Throws std::logic_error: no kernel can perform this op. (Here, so that no kernel emits the library's code.)
[[noreturn]] void reject_op(std::uint8_t op);

// Runs worlds begin..end of a job, which have been checked, and their programs too.
using Kernel = void(const Job&, std::int64_t begin, std::int64_t end, const Scratch&, const Worker&);

namespace baseline { Kernel kernel; }
namespace avx2 { Kernel kernel; }
namespace avx512 { Kernel kernel; }

}  // namespace karel
