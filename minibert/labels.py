"""The names of the classes, as config.json has them: id2label, label2id, num_labels."""

import warnings
from typing import Any

from minibert.strict_json import shown

# What transformers calls the classes of a config.json that does not say.
UNNAMED_LABELS = ("LABEL_0", "LABEL_1")

_MOST = 100_000


def check_labels(labels: Any) -> None:
    """Refuse what is not a tuple of different names.

    Raises:
        ValueError: one sentence.
    """
    if not isinstance(labels, tuple) or not all(isinstance(name, str) for name in labels):
        raise ValueError(f"labels are {shown(labels)}, expected a tuple of names")
    if not 1 <= len(set(labels)) == len(labels) <= _MOST:
        raise ValueError(f"labels are {shown(labels)}, expected 1 to {_MOST} names, all different")


def read_labels(values: dict[str, Any]) -> tuple[str, ...] | None:
    """The names in the order of their numbers; None where config.json does not say.

    As in transformers id2label rules. A label2id that is not the same the other way round is a
    warning: it stays behind where somebody has set id2label alone.

    Args:
        values: the contents of a config.json.

    Raises:
        ValueError: id2label does not name the classes 0, 1, 2, ..., or num_labels differs from it.
    """
    names, numbers, count = (values.get(key) for key in ("id2label", "label2id", "num_labels"))
    if names is None and count is not None:
        if type(count) is not int or not 1 <= count <= _MOST:
            raise ValueError(
                f"config.json has num_labels {shown(count)}, expected a whole number from 1 to "
                f"{_MOST}"
            )
        names = {str(number): f"LABEL_{number}" for number in range(count)}
    labels: tuple[str, ...] | None = None
    if names is not None:
        labels = _in_order(names)
        if count not in (None, len(labels)):
            raise ValueError(
                f"config.json has num_labels {shown(count)} and names {len(labels)} classes in "
                "id2label"
            )
    if numbers is not None and numbers != {name: n for n, name in enumerate(labels or ())}:
        warnings.warn(
            f"config.json has label2id {shown(numbers)}, which is not id2label the other way "
            "round; it is not used",
            stacklevel=4,
        )
    return labels


def _in_order(names: Any) -> tuple[str, ...]:
    """The values of an id2label, whose keys are numbers or, in JSON, their digits."""
    named = {str(key): name for key, name in names.items()} if isinstance(names, dict) else {}
    places = [str(number) for number in range(len(named))]
    if (
        not named
        or set(named) != set(places)
        or not all(isinstance(n, str) for n in named.values())
    ):
        raise ValueError(
            f"config.json has id2label {shown(names)}, expected a name for each of the classes "
            '"0", "1", "2", ...'
        )
    return tuple(named[place] for place in places)
