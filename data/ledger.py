"""What was cut, repaired or cannot be learnt of a data set, counted and named in the same words by
every command that reads one.
"""

from typing import TYPE_CHECKING

from minibert.strict_json import named

if TYPE_CHECKING:
    from data.squad import SquadData
    from data.windows import Windows

LISTED = 5  # question ids that are named


def ledger(squad: "SquadData", windows: "Windows", *, with_zeros: bool = False) -> list[str]:
    """One line for each kind of trouble: how many, why it matters, the first ids.

    Args:
        squad: the whole file.
        windows: of the questions that are used, which may be fewer.
        with_zeros: also the kinds that did not occur.
    """
    tokens = windows.tokens
    lines = []
    for what, why, ids in (
        ("lost answers", "no window holds them, so they train as no answer", windows.lost),
        ("misaligned answers", "they begin or end inside a token", windows.misaligned),
        ("trimmed answers", "white space at their edge is not labelled", windows.trimmed),
        ("cut questions", "longer than --max-question-length or the room", tokens.cut_questions),
        ("over-long words", "of over 100 characters, each one [UNK]", tokens.long_words),
        ("repaired answers", "their offset was 1 or 2 characters off", squad.repaired),
        ("unmarked questions", "without answers, so read as impossible", squad.unmarked),
    ):
        more = ", ..." if len(ids) > LISTED else ""
        listed = f" ({why}): {', '.join(map(named, ids[:LISTED]))}{more}" if ids else ""
        if ids or with_zeros:
            lines.append(f"{what}: {len(ids)}{listed}")
    return lines
