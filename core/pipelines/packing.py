"""Which rows of different lengths are computed together."""

from collections.abc import Sequence

TOKENS = 1024  # of a batch, padding included: enough for a matrix product to be at its best, few enough to stay in the processor's cache
FILLED = 0.8  # of a batch are real tokens at least: a row much shorter than the longest waits for others of its length


def batches(lengths: Sequence[int], most: int | None = None, tokens: int = TOKENS) -> list[list[int]]:
    """Numbers of the rows, the longest first, in batches of about `tokens` tokens and at most `most` rows.

    What a row's result is does not depend on its batch; how long it takes does: a row is as expensive as the longest beside it.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    found: list[list[int]] = []
    room = shortest = 0.0
    for row in order:
        if room < 1 or lengths[row] < shortest:
            longest = max(lengths[row], 1)
            room, shortest = max(tokens // longest, 1), FILLED * longest
            if most is not None:
                room = min(room, most)
            found.append([])
        found[-1].append(row)
        room -= 1
    return found
