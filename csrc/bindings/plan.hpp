// Arguments that everything which draws samples takes.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>

#include "../karel/sampler.hpp"

namespace karel::bindings {

// From karel_fast.data.sampling.plan.Plan, by its field names. Throws std::invalid_argument for a plan that cannot be drawn.
Plan make_plan(const pybind11::handle& source);

// Throws ValueError unless there are such samples, and at least one thread.
void check_range(std::int64_t start, std::int64_t count, int threads);

}  // namespace karel::bindings
