"""Published cells of the train x evaluate table over five question-answering sets, F1 in percent.

REPORT: the table that this project reproduces, of bert-base fine-tuned and scored on questions with
an answer only; its NQ row is empty: 41 GB of training data did not fit its machine.
PAPER: Sen and Saffari 2020, "What do Models Learn from Question Answering Datasets?" (EMNLP 2020),
Table 3; five sets with impossible questions. Its figures stand here as the project's notes have
them, without the paper at hand: check them there before citing them.

Both are of bert-base on whole data sets. What a smaller model, or a part of the data, scores below
them says nothing about code.
"""

SETS = ("squad", "triviaqa", "nq", "quac", "newsqa")

REPORT = {
    "squad": (31.7, 19.8, 26.3, 12.5, 16.2),
    "triviaqa": (18.5, 28.6, 21.0, 8.5, 13.0),
    "quac": (18.0, 11.7, 18.6, 18.9, 7.7),
    "newsqa": (25.1, 15.1, 29.9, 9.8, 30.8),
}
PAPER = {
    "squad": (75.6, 46.7, 48.7, 20.2, 41.1),
    "triviaqa": (49.8, 58.7, 42.1, 20.4, 10.5),
    "nq": (53.5, 46.3, 73.5, 21.6, 24.7),
    "quac": (39.4, 33.1, 33.8, 33.3, 13.8),
    "newsqa": (52.1, 38.4, 41.7, 20.4, 60.1),
}
TABLES = {"report": REPORT, "paper": PAPER}


def published_f1(table: str, train: str, evaluated: str) -> float | None:
    """A published cell, None where there is none.

    Args:
        table: "report" or "paper".
        train: name of the set that was trained on.
        evaluated: name of the set that was answered.
    """
    row = TABLES[table].get(train)
    return row[SETS.index(evaluated)] if row and evaluated in SETS else None
