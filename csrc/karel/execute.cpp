#include "execute.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "kernels.hpp"

namespace karel {
namespace {

struct Variant {
    const char* name;
    Kernel* kernel;
};

std::vector<Variant> available_variants() {
    std::vector<Variant> variants{{"baseline", baseline::kernel}};
#if defined(KAREL_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) {
        variants.push_back({"avx2", avx2::kernel});
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
            variants.push_back({"avx512", avx512::kernel});
        }
    }
#endif
    return variants;
}

Variant chosen_variant() {
    static const Variant variant = [] {
        const auto variants = available_variants();
        if (const char* wanted = std::getenv("KAREL_FAST_ISA"); wanted != nullptr && *wanted != '\0') {
            for (const auto& candidate : variants) {
                if (wanted == std::string(candidate.name)) return candidate;
            }
            throw std::invalid_argument("KAREL_FAST_ISA=" + std::string(wanted) + " is not available here; choose from " +
                                        [&] {
                                            std::string names;
                                            for (const auto& v : variants) names += std::string(" ") + v.name;
                                            return names.substr(1);
                                        }());
        }
        return variants.back();
    }();
    return variant;
}

bool execute(const ProgramBatch& programs, const WorldBatch& worlds, const Options& options, const RunOutput* run,
             const TraceOutput* trace, Interrupt& interrupt) {
    if (programs.count == 0 || worlds.count % programs.count != 0) {
        throw std::invalid_argument("the number of worlds (" + std::to_string(worlds.count) +
                                    ") must be a multiple of the number of programs (" +
                                    std::to_string(programs.count) + ")");
    }
    check_sides(worlds);
    const Geometry geometry(worlds.height, worlds.width);
    // A straight-line run costs tens of nanoseconds, so a piece must hold thousands to be worth a thread; any single
    // run of bytecode can be long.
    const std::int64_t grain = programs.straight_line() && programs.size / programs.count < 1000 ? 4096 : 64;
    const std::int64_t examples = worlds.count / programs.count;
    Kernel* const kernel = chosen_variant().kernel;
    return parallel_for(
        worlds.count, grain, options.threads, interrupt,
        [&](std::int64_t begin, std::int64_t end, const Worker& worker) {
            const std::int64_t longest = check_programs(programs, begin / examples, (end - 1) / examples + 1);
            const Job job{programs, worlds, geometry, options, longest, run, trace};
            std::vector<std::uint64_t> open(static_cast<std::size_t>(geometry.words));
            std::vector<std::uint8_t> markers(static_cast<std::size_t>(geometry.cells));
            std::vector<std::int64_t> counters(static_cast<std::size_t>(programs.slots));
            kernel(job, begin, end, {open.data(), markers.data(), counters.data()}, worker);
        });
}

}  // namespace

void reject_robot(std::int64_t world, const std::uint8_t* robot) {
    throw std::invalid_argument("world " + std::to_string(world) + ": robot at row " + std::to_string(robot[0]) +
                                ", column " + std::to_string(robot[1]) + ", direction " + std::to_string(robot[2]) +
                                " is not inside the outer walls");
}

void reject_op(std::uint8_t op) { throw std::logic_error("op " + std::to_string(op) + " has no kernel"); }

bool run(const ProgramBatch& programs, const WorldBatch& worlds, const Options& options, const RunOutput& out,
         Interrupt& interrupt) {
    return execute(programs, worlds, options, &out, nullptr, interrupt);
}

bool trace(const ProgramBatch& programs, const WorldBatch& worlds, const Options& options, const TraceOutput& out,
           Interrupt& interrupt) {
    return execute(programs, worlds, options, nullptr, &out, interrupt);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const auto& variant : available_variants()) names.emplace_back(variant.name);
    return names;
}

std::string instruction_set() { return chosen_variant().name; }

}  // namespace karel
