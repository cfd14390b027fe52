"""Philox4x32-10, and how this package spends its bits. The readable twin of ``csrc/karel/philox.hpp``.

Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), the Random123 generators.
A counter-based generator is a function of (key, counter), so any sample can be made without making those before it.

The layout, which is part of ``GENERATOR_VERSION``:

    key      seed, low word; seed, high word
    counter  block; stream; index, low word; index, high 24 bits | split << 24

One counter gives one block: four 32-bit words, read as eight 16-bit values, low half before high half. A stream is the
values of blocks 0, 1, 2, .. one after the other. Each sample owns these streams:

    stream e               world e of the sample (so the number of worlds never changes the worlds)
    stream 2**31 + a       attempt a at the program (so a redraw never moves a world or another sample)

Bounded draws are exact: a 16-bit value v is multiplied by n; the product's high half is the answer unless its low half
is below 65536 mod n, in which case the next value is tried (Lemire, "Fast Random Integer Generation in an Interval",
2019). Every outcome then has the same number of accepted values.
"""

from __future__ import annotations

GENERATOR_VERSION = 1

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
WORD = 0xFFFFFFFF

PROGRAM_STREAM = 1 << 31
INDEX_BITS = 56

Words = tuple[int, int, int, int]


def philox4x32(key: tuple[int, int], counter: Words) -> Words:
    """The four 32-bit words that Philox4x32-10 makes of a 64-bit key and a 128-bit counter."""
    k0, k1 = key
    x0, x1, x2, x3 = counter
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIER_0 * x0, MULTIPLIER_1 * x2
        x0, x1, x2, x3 = (p1 >> 32) ^ x1 ^ k0, p1 & WORD, (p0 >> 32) ^ x3 ^ k1, p0 & WORD
        k0, k1 = (k0 + WEYL_0) & WORD, (k1 + WEYL_1) & WORD
    return x0, x1, x2, x3


class Stream:
    """One stream of one sample: 16-bit values in order, and exact bounded draws from them."""

    def __init__(self, seed: int, split: int, index: int, stream: int) -> None:
        self._key = (seed & WORD, seed >> 32)
        self._rest = (stream, index & WORD, index >> 32 | split << 24)
        self._block = 0
        self._values: list[int] = []

    def next(self) -> int:
        """The next 16-bit value."""
        if not self._values:
            words = philox4x32(self._key, (self._block, *self._rest))
            self._block += 1
            self._values = [half for word in words for half in (word & 0xFFFF, word >> 16)][::-1]
        return self._values.pop()

    def below(self, n: int) -> int:
        """A uniform integer in 0 .. n-1, for 1 <= n <= 65535."""
        while True:
            product = self.next() * n
            if product & 0xFFFF >= 65536 % n:
                return product >> 16

    def weighted(self, weights: tuple[int, ...] | list[int]) -> int:
        """Index i with probability weights[i] / sum(weights); the sum is 1..65535."""
        r = self.below(sum(weights))
        for i, weight in enumerate(weights):
            if r < weight:
                return i
            r -= weight
        raise AssertionError("unreachable: r is below the sum of the weights")
