"""Where a secret could turn up: what was seen at each place, searched for a word in any plain encoding."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Any

import redis


class Places:
    """Where to look, and what is there: searched for a word in any plain encoding."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def add(self, place: str, content: object) -> None:
        """Something seen at a place."""
        data = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogateescape")
        self.found[place] = self.found.get(place, b"") + data + b"\n"

    def holding(self, word: str) -> set[str]:
        """The places where the word is, as it is, in hexadecimal or in Base64."""
        return {place for place, data in self.found.items() if any(form in data for form in encodings(word))}


def encodings(word: str) -> Iterator[bytes]:
    """The word as bytes, in hexadecimal, and the part of its Base64 that does not depend on its surroundings."""
    raw = word.encode()
    yield raw
    yield raw.hex().encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\x00" * shift + raw)
        # The first group holds bits of what stands before, the last one of what stands after.
        inner = encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def pattern(*words: str) -> re.Pattern[bytes]:
    """Finds any of the words in any plain encoding."""
    return re.compile(b"|".join(re.escape(form) for word in words for form in encodings(word)))


def look_into_redis(places: Places, client: redis.Redis) -> set[bytes]:
    """Every key of every type, which are returned.

    The history of changes is a place of its own, where no text belongs.
    """
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    keys: Any = client.keys("*")
    kinds = set()
    for key in keys:
        kind: Any = client.type(key)
        if kind == b"none":
            continue  # it has expired meanwhile
        kinds.add(kind)
        places.add("changes" if key == b"tq:changes" else "redis", key + b" " + plain(read[kind](key)))
    places.add("redis", plain(client.slowlog_get(1000)))
    return kinds


def plain(value: Any) -> bytes:
    """All bytes of an answer of Redis, side by side."""
    if isinstance(value, dict):
        return b" ".join(plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set):
        return b" ".join(plain(part) for part in value)
    return value if isinstance(value, bytes) else str(value).encode()
