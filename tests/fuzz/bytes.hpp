// Numbers and arrays out of a fuzzer's bytes; past their end everything is 0.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
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

// Arrays of exactly their size, so that the sanitizer sees a read beside them.
template <class T>
struct Exact {
    explicit Exact(std::size_t count) : size(count), data(new T[count]()) {}
    std::size_t size;
    std::unique_ptr<T[]> data;
    T* get() const { return data.get(); }
    T& operator[](std::size_t at) const { return data[at]; }
};

// A count as the size of an array.
inline std::size_t room(std::int64_t places) { return static_cast<std::size_t>(places); }

// Ends the program, for the fuzzer to keep the input.
[[noreturn]] inline void differs(const char* what) {
    std::fprintf(stderr, "differs: %s\n", what);
    std::abort();
}

}  // namespace fuzz
