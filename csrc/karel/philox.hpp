// Philox4x32-10 (Salmon et al., SC 2011) and how this package spends its bits; karel_fast/data/sampling/philox.py is the readable
// twin and says which counters are used for what.
#pragma once
#include <array>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace karel {

inline constexpr std::uint32_t program_stream = std::uint32_t{1} << 31;

struct PhiloxKey {
    std::uint32_t low;
    std::uint32_t high;
};

namespace philox {

inline constexpr std::uint32_t multiplier_0 = 0xD2511F53, multiplier_1 = 0xCD9E8D57;
inline constexpr std::uint32_t weyl_0 = 0x9E3779B9, weyl_1 = 0xBB67AE85;
inline constexpr int rounds = 10;

}  // namespace philox

inline std::array<std::uint32_t, 4> philox_block(PhiloxKey key, std::array<std::uint32_t, 4> x) {
    for (int round = 0; round < philox::rounds; ++round) {
        const std::uint64_t p0 = std::uint64_t{philox::multiplier_0} * x[0];
        const std::uint64_t p1 = std::uint64_t{philox::multiplier_1} * x[2];
        x = {static_cast<std::uint32_t>(p1 >> 32) ^ x[1] ^ key.low, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ x[3] ^ key.high, static_cast<std::uint32_t>(p0)};
        key.low += philox::weyl_0;
        key.high += philox::weyl_1;
    }
    return x;
}

// A counter without its sample: the two words that differ between the blocks of one sample, and room for the others.
struct BlockAddress {
    std::uint32_t block;
    std::uint32_t stream;
    std::uint32_t unused[2];  // 0
};

// philox_fill computes several blocks side by side, so the buffers around it are padded to a multiple of this.
inline constexpr int philox_group = 8;

// Writes the blocks at `addresses` of one sample as 16-bit values, eight a block; `count` is a multiple of philox_group.
void philox_fill(PhiloxKey key, std::uint32_t index_low, std::uint32_t index_high, const BlockAddress* addresses, int count,
                 std::uint16_t* out);

// The 16-bit values of one stream in order: first those already computed, then further blocks one at a time.
class Stream {
public:
    Stream(PhiloxKey key, std::uint32_t stream, std::uint32_t index_low, std::uint32_t index_high,
           const std::uint16_t* ready = nullptr, int ready_count = 0)
        : key_(key), rest_{stream, index_low, index_high}, next_(ready), end_(ready + ready_count),
          block_(static_cast<std::uint32_t>(ready_count / 8)) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // Goes on after the first `count` values, which must be ready.
    void skip(int count) { next_ += count; }

    std::uint32_t next() {
        if (next_ == end_) refill();
        return *next_++;
    }

    // Uniform over 0 .. n-1, for 1 <= n <= 65535, without bias (Lemire 2019).
    std::uint32_t below(std::uint32_t n) {
        std::uint32_t product = next() * n;
        if ((product & 0xFFFF) < n) {  // the remainder below is smaller than n, so it is seldom needed
            const std::uint32_t rejected = 65536 % n;
            while ((product & 0xFFFF) < rejected) product = next() * n;
        }
        return product >> 16;
    }

    // Index i with probability proportional to the rise of the cumulative weights at i; ends[count-1] is their total.
    int weighted(const std::uint32_t* ends, int count) {
        const std::uint32_t r = below(ends[count - 1]);
        int i = 0;
        for (int k = 0; k < count - 1; ++k) i += r >= ends[k];
        return i;
    }

private:
    void refill() {
        const auto words = philox_block(key_, {block_++, rest_[0], rest_[1], rest_[2]});
        for (int i = 0; i < 4; ++i) {
            values_[2 * i] = static_cast<std::uint16_t>(words[i] & 0xFFFF);
            values_[2 * i + 1] = static_cast<std::uint16_t>(words[i] >> 16);
        }
        next_ = values_;
        end_ = values_ + 8;
    }

    PhiloxKey key_;
    std::array<std::uint32_t, 3> rest_;
    const std::uint16_t* next_;
    const std::uint16_t* end_;
    std::uint32_t block_;
    std::uint16_t values_[8];
};

}  // namespace karel
