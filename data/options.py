"""The options of every command that makes windows of questions: which model, which windows."""

from dataclasses import dataclass

from data.command import UsageError, option

PICTURES = ("png", "svg", "pdf")  # formats, of every command that draws


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Whose windows; None leaves a setting as the model was saved with, see data/qa_settings.py.

    Raises:
        UsageError: a value outside its range, or flags that contradict each other.
    """

    model: str = option(
        help="run folder, model folder, or Hub name, of a model trained to answer", group="model"
    )
    revision: str | None = option(None, help="Hub branch, tag or commit", group="model")
    max_length: int | None = option(
        None, help="tokens of a window (default: the model's own)", group="windows"
    )
    doc_stride: int | None = option(
        None, help="tokens shared by neighbouring windows (default: the model's)", group="windows"
    )
    doc_step: int | None = option(
        None, help="tokens between window starts, instead of a stride", group="windows"
    )
    max_question_length: int | None = option(
        None, help="tokens kept of a question (default: the model's own)", group="windows"
    )

    def __post_init__(self) -> None:
        for name in ("max_length", "doc_step", "max_question_length"):
            check_range(name, getattr(self, name), 1)
        check_range("doc_stride", self.doc_stride, 0)
        if self.doc_stride is not None and self.doc_step is not None:
            raise UsageError("--doc-stride and --doc-step contradict each other; give one of them")


def flag(name: str, value: object = None) -> str:
    """An option's name as it is typed: --batch-size, and --no-skip where its value is False."""
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def check_range(name: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse the value of a flag (None: not given) outside its range.

    Raises:
        UsageError: naming the flag.
    """
    if value is not None and (value < least or (most is not None and value > most)):
        wanted = f"at least {least}" if most is None else f"{least} to {most}"
        raise UsageError(f"{flag(name)} is {value}, expected {wanted}")
