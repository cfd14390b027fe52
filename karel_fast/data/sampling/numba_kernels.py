"""The sampler's inner functions in Numba: draws, worlds, programs, and the loops over samples.

Two habits of Numba shape the code. It wraps signed indices around the end, which costs time and keeps loops from
vectorizing, so arrays of worlds are flat and their indices made unsigned where they are used (not before, as arithmetic
that mixes the two makes floats). And it counts references to arrays around calls, at more than the cost of a draw, so
the draws are inlined (`_inline`).
"""

from __future__ import annotations

import numpy as np

from karel_fast.data.sampling import philox
from karel_fast.support.numba_cache import cached_njit

# Places in a plan as `numba_plan.plan_array` lays it out. They stand here because Numba freezes globals into its kernels, and
# its cache on disk notices changes of this file only. For the same reason whatever comes from the vocabulary arrives as an
# argument: the symbols in the plan, and in `words` the weights of the actions, these summed up, the effects of the written
# actions (`Effect.byte`), and the weights of the conditions summed up.
(WORLDS, SHOWN, INSIDE, CELLS, WALL_END, MARKER_END, SHORTEST, LONGEST, AVOID_NOOPS, SPLIT, HASH_FIRST, HASH_LAST,
 KEY_LOW, KEY_HIGH, MAX_ATTEMPTS, WORLD_VALUES, NEGATE, DEPTH, LOWEST, HIGHEST, IF, IFELSE, REPEAT, ELSE, NOT, CONDITION,
 OPEN, CLOSE, COUNT, STEPS) = range(30)  # fmt: skip
STATEMENT_WEIGHTS = STEPS + 4

# Places in the state of a stream: the next value and the end of those ready (both places in `values`), then the counter
# of the next block and the key.
NEXT, END, BLOCK, STREAM, INDEX_LOW, INDEX_HIGH, STATE_KEY_LOW, STATE_KEY_HIGH = range(8)

PAD = 255
MOVES, PICKS = 1, 4  # bits of an effect
PROGRAM_STREAM = philox.PROGRAM_STREAM
MAX_DEPTH = 8
READY = 2  # blocks of the program's first attempt that are filled with the worlds'
WALL, MARKER = 1, 2  # kinds of cells
RING = 0  # place in `kinds` that stays a wall

U = np.uint64
M0, M1 = U(philox.MULTIPLIER_0), U(philox.MULTIPLIER_1)
W0, W1 = U(philox.WEYL_0), U(philox.WEYL_1)
ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE = (U(k) for k in range(1, 10))
LOW = U(0xFFFFFFFF)
HALF, SHORT = U(32), U(16)
MIX_1, MIX_2 = U(0xFF51AFD7ED558CCD), U(0xC4CEB9FE1A85EC53)
FNV_START, FNV_PRIME, MIX_SHIFT = U(0xCBF29CE484222325), U(0x100000001B3), U(33)

_compile = cached_njit(nogil=True, error_model="numpy")
_inline = cached_njit(nogil=True, error_model="numpy", forceinline=True)


# -- draws ------------------------------------------------------------------------------------------------------------


@_compile
def _round(x0, x1, x2, x3, k0, k1):
    p0, p1 = M0 * x0, M1 * x2
    return (p1 >> HALF) ^ x1 ^ k0, p1 & LOW, (p0 >> HALF) ^ x3 ^ k1, p0 & LOW


@_compile
def _fill(pairs, blocks, streams, low, high, k0, k1):
    """The blocks of one sample that (block, stream) pairs name, as pairs of 32-bit words one after the other.

    Philox4x32-10. The rounds are written out, here, as neither a loop over them nor a call is vectorized.
    """
    for k in range(len(blocks)):
        i = U(k)
        x0, x1, x2, x3 = _round(blocks[i], streams[i], low, high, k0, k1)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0) & LOW, (k1 + W1) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * TWO) & LOW, (k1 + W1 * TWO) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * THREE) & LOW, (k1 + W1 * THREE) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * FOUR) & LOW, (k1 + W1 * FOUR) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * FIVE) & LOW, (k1 + W1 * FIVE) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * SIX) & LOW, (k1 + W1 * SIX) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * SEVEN) & LOW, (k1 + W1 * SEVEN) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * EIGHT) & LOW, (k1 + W1 * EIGHT) & LOW)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, (k0 + W0 * NINE) & LOW, (k1 + W1 * NINE) & LOW)
        pairs[TWO * i] = x0 | x1 << HALF
        pairs[TWO * i + ONE] = x2 | x3 << HALF


@_inline
def _refill(state, values):
    """The stream's next block, as the first eight of `values`."""
    x0, x1, x2, x3 = U(state[BLOCK]), U(state[STREAM]), U(state[INDEX_LOW]), U(state[INDEX_HIGH])
    k0, k1 = U(state[STATE_KEY_LOW]), U(state[STATE_KEY_HIGH])
    for _ in range(10):
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0, k1)
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    values[0], values[1], values[2], values[3] = x0, x0 >> SHORT, x1, x1 >> SHORT
    values[4], values[5], values[6], values[7] = x2, x2 >> SHORT, x3, x3 >> SHORT
    state[NEXT], state[END] = 0, 8
    state[BLOCK] += 1


@_inline
def _next(state, values):
    """The next 16-bit value of a stream."""
    if state[NEXT] == state[END]:
        _refill(state, values)
    value = values[U(state[NEXT])]
    state[NEXT] += 1
    return np.int64(value)


@_inline
def _below(n, state, values):
    while True:
        product = _next(state, values) * n
        low = product & 0xFFFF
        if low >= n or low >= 65536 % n:  # the remainder is smaller than n, so it is seldom needed
            return product >> 16


@_inline
def _weighted(ends, state, values):
    """A place in `ends`, which are cumulative weights."""
    r = _below(ends[len(ends) - 1], state, values)
    i = 0
    for k in range(len(ends) - 1):
        i += r >= ends[U(k)]
    return i


@_compile
def _in_split(plan, row, length):
    if plan[HASH_FIRST] == 0 and plan[HASH_LAST] > 0xFFFFFFFF:
        return True
    h = FNV_START
    for i in range(length):
        h = (h ^ U(row[i])) * FNV_PRIME
    h = (h ^ (h >> MIX_SHIFT)) * MIX_1
    h = (h ^ (h >> MIX_SHIFT)) * MIX_2
    h = (h ^ (h >> MIX_SHIFT)) >> HALF
    return plan[HASH_FIRST] <= np.int64(h) < plan[HASH_LAST]


@_compile
def _begin_sample(plan, index, state):
    state[INDEX_LOW], state[INDEX_HIGH] = index & 0xFFFFFFFF, index >> 32 | plan[SPLIT] << 24
    state[STATE_KEY_LOW], state[STATE_KEY_HIGH] = plan[KEY_LOW], plan[KEY_HIGH]


@_compile
def _begin_attempt(plan, attempt, ready, state):
    """The stream of an attempt at the program; `ready` says whether its first blocks are among those filled."""
    start = 8 + plan[WORLD_VALUES] * plan[WORLDS]
    state[NEXT], state[END] = start, start + (8 * READY if ready else 0)
    state[BLOCK], state[STREAM] = READY if ready else 0, PROGRAM_STREAM + attempt


# -- worlds -----------------------------------------------------------------------------------------------------------


@_compile
def _draw_worlds(plan, tables, pairs, kinds, state, walls, markers, robot, cells, directions):
    """The worlds of a sample, whose stream's state has begun; fills `pairs`, and `cells` (places in `walls`)."""
    blocks, streams, source, places, rows, columns = tables
    _fill(
        pairs[2:], blocks, streams, U(state[INDEX_LOW]), U(state[INDEX_HIGH]), U(state[STATE_KEY_LOW]),
        U(state[STATE_KEY_HIGH])
    )  # fmt: skip
    values = pairs.view(np.uint16)
    wall_end, marker_end = np.uint32(plan[WALL_END]), np.uint32(plan[MARKER_END])
    for i in range(len(kinds)):
        value = values[U(i)]
        kinds[U(i)] = WALL if value < wall_end else MARKER if value < marker_end else 0
    kinds[RING] = WALL
    for c in range(len(source)):  # in two loops, of which the second is vectorized
        walls[U(c)] = kinds[U(source[U(c)])]
    for c in range(len(walls)):
        kind = walls[U(c)]
        walls[U(c)] = kind & WALL
        markers[U(c)] = kind >> 1
    for e in range(plan[WORLDS]):
        start = 8 + plan[WORLD_VALUES] * e
        state[NEXT], state[END] = start + plan[INSIDE], start + plan[WORLD_VALUES]
        state[BLOCK], state[STREAM] = plan[WORLD_VALUES] >> 3, e
        pose = _below(4 * plan[INSIDE], state, values)
        cell, direction = places[U(pose >> 2)], pose & 3
        place = plan[CELLS] * e + cell
        walls[U(place)] = markers[U(place)] = 0
        robot[U(3 * e)], robot[U(3 * e + 1)], robot[U(3 * e + 2)] = rows[U(cell)], columns[U(cell)], direction
        cells[U(e)], directions[U(e)] = place, direction


@_compile
def _perform(effect, count, steps, walls, markers, cells, directions):
    """An action of this effect in each of the first `count` worlds of a sample; `cells` are places in `walls` and `markers`."""
    if effect & MOVES:
        for e in range(count):
            here = cells[U(e)]
            ahead = here + steps[U(directions[U(e)])]
            cells[U(e)] = here if walls[U(ahead)] else ahead
    elif effect >> 3:
        for e in range(count):
            directions[U(e)] = (directions[U(e)] + (effect >> 3)) & 3
    elif effect & PICKS:
        for e in range(count):
            markers[U(cells[U(e)])] -= markers[U(cells[U(e)])] > 0
    else:
        for e in range(count):
            markers[U(cells[U(e)])] += 1


# -- programs ---------------------------------------------------------------------------------------------------------


@_compile
def _draw_actions(plan, words, row, state, values, walls, markers, cells, directions, tried, at, facing):
    """A straight-line program into `row`; `tried`, `at` and `facing` are scratch copies of the shown worlds."""
    length = plan[SHORTEST] + _below(plan[LONGEST] - plan[SHORTEST] + 1, state, values)
    weights, ends, effects, _ = words
    if not plan[AVOID_NOOPS]:
        for k in range(length):
            row[U(k)] = _weighted(ends, state, values)
        return length
    shown, steps = plan[SHOWN], plan[STEPS : STEPS + 4]
    for e in range(shown):
        at[e], facing[e] = cells[e], directions[e]
    for c in range(len(tried)):
        tried[U(c)] = markers[U(c)]
    useful = np.empty(len(weights), np.int64)
    for k in range(length):
        can_move = can_pick = False
        for e in range(shown):
            can_move |= not walls[U(at[U(e)] + steps[U(facing[U(e)])])]
            can_pick |= tried[U(at[U(e)])] > 0
        total = 0
        for a in range(len(weights)):
            useless = (effects[a] & MOVES and not can_move) or (effects[a] & PICKS and not can_pick)
            total += 0 if useless else weights[a]
            useful[a] = total
        row[U(k)] = _weighted(useful if total > 0 else ends, state, values)
        _perform(effects[U(row[U(k)])], shown, steps, walls, tried, at, facing)
    return length


@_compile
def _draw_statements(plan, words, row, state, values):
    """A program with control flow into `row`, which has room for it."""
    left, orelse = np.zeros(MAX_DEPTH + 1, np.int64), np.zeros(MAX_DEPTH + 1, np.int64)
    _, action_ends, _, condition_ends = words
    actions = len(action_ends)
    ends = np.zeros(actions + 4, np.int64)
    ends[:actions] = action_ends
    left[0] = plan[SHORTEST] + _below(plan[LONGEST] - plan[SHORTEST] + 1, state, values)
    level = out = 0
    while True:
        if left[level] == 0:
            if level == 0:
                return out
            row[out] = plan[CLOSE]
            out += 1
            if orelse[level]:
                row[out], row[out + 1] = plan[ELSE], plan[OPEN]
                out += 2
                left[level], orelse[level] = orelse[level], 0
            else:
                level -= 1
            continue
        for s in range(4):
            needed = 3 if plan[IF] + s == plan[IFELSE] else 2
            fits = level < plan[DEPTH] and left[level] >= needed
            ends[actions + s] = ends[actions + s - 1] + (plan[STATEMENT_WEIGHTS + s] if fits else 0)
        statement = _weighted(ends, state, values)
        row[out] = statement
        out += 1
        left[level] -= 1
        if statement < plan[IF]:
            continue
        second = 0
        if statement == plan[IFELSE]:
            first = 1 + _below(left[level] - 1, state, values)
            second = 1 + _below(left[level] - first, state, values)
        else:
            first = 1 + _below(left[level], state, values)
        if statement == plan[REPEAT]:
            row[out] = plan[COUNT] + plan[LOWEST] + _below(plan[HIGHEST] - plan[LOWEST] + 1, state, values)
        else:
            condition = plan[CONDITION] + _weighted(condition_ends, state, values)
            if plan[NEGATE] and _below(2, state, values):
                row[out] = plan[NOT]
                out += 1
            row[out] = condition
        row[out + 1] = plan[OPEN]
        out += 2
        left[level] -= first + second
        level += 1
        left[level], orelse[level] = first, second


# -- loops over samples -----------------------------------------------------------------------------------------------


@_compile
def _finish(row, length):
    """Pads a program's row; `length` is negative if none was found. Returns it."""
    for k in range(max(length, 0), len(row)):
        row[U(k)] = PAD
    return length


@_compile
def _scratch(plan, tables):
    """Memory for one sample at a time: words in pairs (first a block for refills, then those filled), kinds of cells, the
    state of a stream, and cells and directions of the robots."""
    worlds = plan[WORLDS]
    pairs = np.empty(2 + 2 * len(tables[0]), np.uint64)
    kinds = np.empty(8 + plan[WORLD_VALUES] * worlds, np.uint8)
    return pairs, kinds, np.zeros(8, np.int64), np.empty(worlds, np.int64), np.empty(worlds, np.int64)


@_compile
def straight(begin, end, plan, words, tables, start, rows, lengths, walls, markers, robot, out_markers, out_robot):
    size, shown, steps = plan[WORLDS], plan[SHOWN], plan[STEPS : STEPS + 4]
    row_of, column_of, effects = tables[4], tables[5], words[2]
    pairs, kinds, state, cells, directions = _scratch(plan, tables)
    values = pairs.view(np.uint16)
    tried, at, facing = np.empty(shown * plan[CELLS], np.uint8), np.empty(shown, np.int64), np.empty(shown, np.int64)
    for i in range(begin, end):
        row = rows[i]
        my_cells = slice(i * size * plan[CELLS], (i + 1) * size * plan[CELLS])
        my_robots = slice(3 * i * size, 3 * (i + 1) * size)
        my_walls, my_markers, outputs = walls[my_cells], markers[my_cells], out_markers[my_cells]
        _begin_sample(plan, start + i, state)
        _draw_worlds(plan, tables, pairs, kinds, state, my_walls, my_markers, robot[my_robots], cells, directions)
        length = -1
        for attempt in range(plan[MAX_ATTEMPTS]):
            _begin_attempt(plan, attempt, attempt == 0, state)
            drawn = _draw_actions(
                plan, words, row, state, values, my_walls, my_markers, cells, directions, tried, at, facing
            )
            if _in_split(plan, row, drawn):
                length = drawn
                break
        lengths[i] = _finish(row, length)
        for c in range(len(outputs)):
            outputs[U(c)] = my_markers[U(c)]
        for k in range(length):
            _perform(effects[U(row[U(k)])], size, steps, my_walls, outputs, cells, directions)
        final = out_robot[my_robots]
        for e in range(size):
            cell = cells[U(e)] - plan[CELLS] * e
            final[U(3 * e)], final[U(3 * e + 1)] = row_of[U(cell)], column_of[U(cell)]
            final[U(3 * e + 2)] = directions[U(e)]


@_compile
def worlds(begin, end, plan, tables, start, walls, markers, robot):
    size = plan[WORLDS]
    pairs, kinds, state, cells, directions = _scratch(plan, tables)
    for i in range(begin, end):
        my_cells = slice(i * size * plan[CELLS], (i + 1) * size * plan[CELLS])
        my_robots = slice(3 * i * size, 3 * (i + 1) * size)
        _begin_sample(plan, start + i, state)
        _draw_worlds(
            plan, tables, pairs, kinds, state, walls[my_cells], markers[my_cells], robot[my_robots], cells, directions
        )  # fmt: skip


@_compile
def programs(begin, end, plan, words, indices, attempts, rows, lengths, used):
    state, values = np.zeros(8, np.int64), np.empty(8, np.uint16)
    for i in range(begin, end):
        _begin_sample(plan, indices[i], state)
        row = rows[i]
        length, used[i] = -1, plan[MAX_ATTEMPTS]
        for attempt in range(attempts[i], plan[MAX_ATTEMPTS]):
            _begin_attempt(plan, attempt, False, state)
            drawn = _draw_statements(plan, words, row, state, values)
            if _in_split(plan, row, drawn):
                length, used[i] = drawn, attempt
                break
        lengths[i] = _finish(row, length)
