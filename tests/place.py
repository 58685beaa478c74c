"""Little files with a run on them, and the command line of every command for these."""

from pathlib import Path

from tests.train.little import little_arguments, write_little

CONTEXT = "the old river was named by anna"


class Place:
    """Little files, and a finished run on them, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        write_little(folder)
        self.context = folder / "context.txt"
        self.context.write_text(CONTEXT)

    def words(self, command: str, out: Path) -> list[str]:
        """The command line of a command, with what it writes at or below `out`."""
        dev = str(self.folder / "dev.json")
        return {
            "train.squad": little_arguments(self.folder, out, "--epochs", "1"),
            "eval.predict": [
                *("--model", str(self.run), "--data-file", dev, "--output-dir", str(out)),
            ],
            "eval.squad": [
                *(dev, str(self.run / "predictions.json"), "-o", str(out)),
                *("-n", str(self.run / "na_probs.json")),
            ],
            "eval.answer": [
                *("--model", str(self.run), "--question", "who named the river ?"),
                *("--context", CONTEXT, "--top", "9"),
            ],
            "eval.explain": [
                *("--model", str(self.run), "--question", "who named the river ?"),
                *("--context", str(self.context), "--out", str(out), "--steps", "8"),
            ],
            "data.windows": ["--model", str(self.run / "best"), "--data-file", dev],
            "data.download": [],
        }[command]


WRITING = ("train.squad", "eval.predict", "eval.squad", "eval.explain")
COMMANDS = (*WRITING, "eval.answer", "data.windows", "data.download")
