"""Runs of candidates: where shards begin and end, and what many runs cover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def bounds(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, count) of the shards that candidates start .. stop - 1 fall into."""
    while start < stop:
        count = shard_count(start, stop, size)
        yield start, count
        start += count


def shard_count(start: int, stop: int, size: int) -> int:
    """Return how many candidates the shard has that begins with candidate `start`."""
    return min(stop, (start // size + 1) * size) - start


def join_ranges(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ranges in ascending order, neighbours joined; raise ValueError where two overlap."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start < joined[-1][1]:
            raise ValueError(
                f"candidates {start} to {min(stop, joined[-1][1]) - 1} are in more than one "
                "result: pass shards that do not overlap."
            )
        if joined and start == joined[-1][1]:
            start = joined.pop()[0]
        joined.append((start, stop))
    return tuple(joined)
