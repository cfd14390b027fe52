// A hash table from things to their numbers, where the things themselves are kept by whoever owns the table.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace karel {

inline std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 32);
}

class IndexTable {
public:
    // Forgets everything; memory far beyond what was needed is given back, so that one large table does not slow many small.
    void clear() {
        if (slots_.size() < smallest || slots_.size() > 16 * count_ + smallest) slots_ = std::vector<Slot>(smallest);
        else slots_.assign(slots_.size(), Slot{});
        count_ = 0;
    }

    // The number of the thing with this hash for which equal(number) holds; if there is none, `number` is entered and returned.
    template <class Equal>
    std::int32_t find_or_enter(std::uint64_t hash, std::int32_t number, Equal&& equal) {
        if (2 * (count_ + 1) > slots_.size()) grow();
        const auto tag = static_cast<std::uint32_t>(hash >> 32);
        for (std::size_t at = tag & mask();; at = (at + 1) & mask()) {
            Slot& slot = slots_[at];
            if (slot.number < 0) {
                slot = {tag, number};
                ++count_;
                return number;
            }
            if (slot.tag == tag && equal(slot.number)) return slot.number;
        }
    }

private:
    struct Slot {
        std::uint32_t tag = 0;
        std::int32_t number = -1;
    };
    static constexpr std::size_t smallest = 256;

    std::size_t mask() const { return slots_.size() - 1; }

    void grow() {
        const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
        for (const Slot& slot : old) {
            if (slot.number < 0) continue;
            std::size_t at = slot.tag & mask();
            while (slots_[at].number >= 0) at = (at + 1) & mask();
            slots_[at] = slot;
        }
    }

    std::vector<Slot> slots_ = std::vector<Slot>(smallest);
    std::size_t count_ = 0;
};

}  // namespace karel
