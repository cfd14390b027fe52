// Numbers and arrays out of a fuzzer's bytes; past their end everything is 0.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace fuzz {

class Bytes {
public:
    Bytes(const std::uint8_t* next, std::size_t size) : next_(next), left_(size) {}

    std::uint8_t byte() {
        if (left_ == 0) return 0;
        --left_;
        return *next_++;
    }
    // low..high, both included.
    std::int64_t from(std::int64_t low, std::int64_t high) {
        const std::uint64_t first = static_cast<std::uint64_t>(low), range = static_cast<std::uint64_t>(high) - first + 1;
        std::uint64_t value = 0;
        for (std::uint64_t rest = range - 1; rest > 0; rest >>= 8) value = value << 8 | byte();
        return static_cast<std::int64_t>(first + (range ? value % range : value));
    }
    std::size_t left() const { return left_; }

private:
    const std::uint8_t* next_;
    std::size_t left_;
};

// Ends the program, for the fuzzer to keep the input.
[[noreturn]] inline void differs(const char* what) {
    std::fprintf(stderr, "differs: %s\n", what);
    std::abort();
}

}  // namespace fuzz
