"""A little text to pretrain on: sentences that repeat, in documents with blank lines between."""

import random
from pathlib import Path

NAMES = "anna bert carl dora emil fred gina hugo".split()
PLACES = "the old river|the white tower|a stone bridge|the new town".split("|")
DAYS = "monday tuesday friday sunday".split()
# every name lives in one place and goes out on one day: what a masked-LM can learn
SENTENCES = [
    f"On {DAYS[n % 4].title()}, {name.title()} walked to {PLACES[n // 2]}; {name} saw {n} boats!"
    for n, name in enumerate(NAMES)
]


def write_text(path: Path, documents: int, seed: int = 0) -> Path:
    """Write documents of 2 to 12 sentences."""
    generator = random.Random(seed)
    parts = (
        "\n".join(generator.choices(SENTENCES, k=generator.randint(2, 12)))
        for _ in range(documents)
    )
    path.write_text("\n\n".join(parts) + "\n")
    return path
