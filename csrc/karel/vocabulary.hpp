// The words of the language and what they mean, written once: karel_fast/karel/language/vocabulary.py says the same in
// Python, and a test compares the two. Everything in the core that handles actions or conditions derives from here.
#pragma once
#include <cstdint>
#include <iterator>

namespace karel {

// What an action does, in one byte: exactly one of a step ahead, one marker put or picked, or quarter turns clockwise.
namespace does {
inline constexpr std::uint8_t move = 1, put = 2, pick = 4;
constexpr std::uint8_t turn(int quarters) { return static_cast<std::uint8_t>(quarters << 3); }
}  // namespace does

// What a condition looks at, in one byte: the cell next to the robot after so many quarter turns clockwise, which is found
// clear or not, or the robot's own, which is found with markers or without. It holds if that is found, or if it is not.
namespace looks {
constexpr std::uint8_t clear(int quarters) { return static_cast<std::uint8_t>(quarters); }
inline constexpr std::uint8_t markers = 4, not_found = 8;
}  // namespace looks

struct Word {
    const char* name;
    std::uint8_t meaning;
};

// A word's place is its code.
inline constexpr Word action_words[] = {
    {"move", does::move},
    {"turn_left", does::turn(3)},
    {"turn_right", does::turn(1)},
    {"pick_marker", does::pick},
    {"put_marker", does::put},
};

inline constexpr Word condition_words[] = {
    {"front_is_clear", looks::clear(0)},
    {"left_is_clear", looks::clear(3)},
    {"right_is_clear", looks::clear(1)},
    {"markers_present", looks::markers},
    {"no_markers_present", looks::markers | looks::not_found},
};

inline constexpr std::uint8_t action_count = std::size(action_words), condition_count = std::size(condition_words);

constexpr bool all_effects() {
    for (const Word& word : action_words) {
        const int quarters = word.meaning >> 3;
        const bool turns = word.meaning == does::turn(quarters) && quarters >= 1 && quarters <= 3;
        if (!turns && word.meaning != does::move && word.meaning != does::put && word.meaning != does::pick) return false;
    }
    return true;
}
static_assert(all_effects(), "an action moves, puts, picks or turns by 1 to 3 quarters: exactly one of these");
static_assert(action_count <= 7, "kernels_small.inc packs all effects into 64 bits, with a byte for no action");
static_assert(condition_count <= 8, "an instruction has three bits for its condition");

}  // namespace karel
