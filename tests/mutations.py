"""Sound files made unsound, by structure and by bytes; every choice comes from the generator."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

Mutation = Callable[[random.Random], bytes]

# Values that JSON can hold and a reader may not expect.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, "", " ", "\ud800",
    "a\nb", "\x00", "\x1b[31m", "\u2028", "0", "true", "../../etc/passwd", "q1", "x" * 5000,
    [], [None], [[]], {}, {"id": 1}, {"": ""}, [0] * 300,
]  # fmt: skip
# Text that stands in the place of a value: not all of it is JSON.
TEXTS = [
    "NaN", "-Infinity", "Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 4300, "0x10", "01",
    "'a'", "undefined", "[1,]", '{"a":1,"a":2}', '"\\ud83d"', '"\\u0000"', "", "1 2", "/*c*/1",
]  # fmt: skip
BEGINNINGS = [
    b"\xef\xbb\xbf", b"\xff\xfe", b"\x80\x04}q\x00.", b"PK\x03\x04", b"<!DOCTYPE html>", b"\x00",
    b"version https://git-lfs.github.com/spec/v1\n", b"\x1f\x8b\x08", b" ", b"\xef\xbb\xbf" * 2,
]  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside a value."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [(value, key) for key in keys] + [p for key in keys for p in _places(value[key])]


def _nested(generator: random.Random) -> str:
    """Deep nesting, often just around the depth that Python's own limit allows."""
    depth = generator.choice([9, generator.randint(850, 1050), 5_000, 100_000])
    opening, closing = generator.choice([("[", "]"), ('{"a":', "}")])
    whole = generator.random() < 0.8
    return opening * depth + "1" * whole + closing * (depth * whole)


def mutate_structure(document: Any, generator: random.Random) -> bytes:
    """JSON of a document after one to three changes of its structure.

    Args:
        document: JSON values in a dict; left as it is.
        generator: chooses the changes and the places.
    """
    document = json.loads(json.dumps(document))
    raw: dict[str, str] = {}

    def stand_in(text: str) -> str:
        """A string that is replaced by any text, JSON or not, in the end."""
        mark = f"@@{len(raw)}@@"
        raw[json.dumps(mark)] = text
        return mark

    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        places = _places(document)
        if not places:
            break
        container, key = generator.choice(places)
        other, other_key = generator.choice(places)
        change = generator.randrange(9)
        if change == 0:
            container[key] = deepcopy(generator.choice(VALUES))
        elif change == 1:
            container[key] = stand_in(generator.choice(TEXTS))
        elif change == 2:
            container[key] = stand_in(_nested(generator))
        elif change == 3:
            del container[key]
        elif change == 4:  # two values change places; one inside the other would make a circle
            one, two = json.dumps(container[key]), json.dumps(other[other_key])
            container[key], other[other_key] = json.loads(two), json.loads(one)
        elif change == 5:
            container[key] = generator.choice([[container[key]], {"a": container[key]}])
        elif isinstance(container, list):
            container[key:key] = [container[key]] * generator.choice([1, 2, 50])
        elif change == 6:  # the key a second time, with another value
            container[stand_in(json.dumps(key))] = json.loads(json.dumps(other[other_key]))
        elif change == 7:
            container[generator.choice(["", "id", key * 2, "\ud800", "a\nb"])] = container.pop(key)
        else:
            container[generator.choice(["", key + "_", "x" * 3000])] = deepcopy(
                generator.choice(VALUES)
            )
    text = json.dumps(document, ensure_ascii=generator.random() < 0.5)
    for mark, instead in raw.items():
        text = text.replace(mark, instead)
    return text.encode("utf-8", "surrogatepass" if generator.random() < 0.5 else "replace")


def mutate_bytes(content: bytes, generator: random.Random) -> bytes:
    """A content after one to three changes of its bytes."""
    damaged = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 3])):
        place = generator.randrange(len(damaged) + 1)
        change = generator.randrange(9)
        if change == 0 and damaged:
            damaged[place - 1] ^= 1 << generator.randrange(8)
        elif change == 1:
            damaged[place : place + generator.randint(1, 9)] = b""
        elif change == 2:
            damaged[place:place] = generator.randbytes(generator.randint(1, 9))
        elif change == 3:
            del damaged[place:]
        elif change == 4:
            begin = generator.randrange(len(damaged) + 1)
            damaged[place:place] = damaged[begin : begin + generator.randint(1, 200)]
        elif change == 5:
            damaged[:0] = generator.choice(BEGINNINGS)
        elif change == 6:
            damaged = damaged.replace(b"\n", b"\r\n") if place % 2 else damaged + b"\n{}\n"
        elif change == 7:
            damaged[place:place] = generator.choice(
                [b"\n\n", b"\r", b"\x00", b"\xed\xa0\x80", b"["]
            )
        else:
            damaged[:] = generator.choice([b"", b"\n", b"\xef\xbb\xbf", damaged * 2, damaged[::-1]])
    return bytes(damaged)


def mutate_json(document: Any, generator: random.Random) -> bytes:
    """A document's JSON, damaged by structure, by bytes, or both."""
    kind = generator.random()
    content = json.dumps(document).encode() if kind < 0.3 else mutate_structure(document, generator)
    return mutate_bytes(content, generator) if kind < 0.45 else content


def mutate_lines(content: bytes, generator: random.Random) -> bytes:
    """A text file after changes of its lines or its bytes."""
    lines = content.split(b"\n")
    for _ in range(generator.choice([0, 1, 1, 2])):
        place = generator.randrange(len(lines))
        change = generator.randrange(5)
        if change == 0:
            lines.insert(place, generator.choice(lines))
        elif change == 1 and len(lines) > 1:
            del lines[place]
        elif change == 2:
            lines.insert(
                place, generator.choice([b"", b" ", b"\x00", b"x" * 3000, b"\xe2\x80\xa8"])
            )
        elif change == 3:
            lines[place] += generator.choice([b"\r", b" ", b"\t", b"\xcc\x81", b"\xff"])
        else:
            other = generator.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
    content = b"\n".join(lines)
    return mutate_bytes(content, generator) if generator.random() < 0.4 else content


def mutate_safetensors(content: bytes, generator: random.Random) -> bytes:
    """A safetensors file with a damaged header, header size or data."""
    size = int.from_bytes(content[:8], "little")
    kind = generator.random()
    if kind < 0.15:  # other numbers: as good a file as before
        place = generator.randrange(8 + size, len(content))
        return content[:place] + generator.randbytes(len(content) - place)
    if kind < 0.4:
        return mutate_bytes(content, generator)
    if kind < 0.5:
        wrong = generator.choice([0, 1, size - 1, size + 1, 10**6, 10**8 + 1, 2**63, 2**64 - 1])
        return wrong.to_bytes(8, "little") + content[8:]
    header = mutate_structure(json.loads(content[8 : 8 + size]), generator)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
