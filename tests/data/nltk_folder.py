"""A folder that nltk takes for its data: a WordNet of a few words, and a few stop words."""

from pathlib import Path

# part of speech -> its letter, words, exceptions
WORDNET = {
    "noun": ("n", ["child", "measles", "vaccine", "shot", "fear", "us"], ["children child"]),
    "verb": ("v", ["be", "vaccinate", "speak", "fear"], ["was be", "spoke speak"]),
    "adj": ("a", ["safe"], []),
    "adv": ("r", [], []),
}
STOP_WORDS = "the is was not of and a".split()


def write_nltk_folder(folder: Path) -> None:
    """Write corpora/wordnet and corpora/stopwords."""
    wordnet = folder / "corpora" / "wordnet"
    wordnet.mkdir(parents=True)
    for name in ("lexnames", "cntlist.rev", "index.sense"):
        (wordnet / name).write_text("")
    for name, (letter, words, exceptions) in WORDNET.items():
        index = "".join(f"{word} {letter} 1 0 1 0 00000001  \n" for word in words)
        (wordnet / f"index.{name}").write_text(index)
        (wordnet / f"{name}.exc").write_text("".join(f"{line}\n" for line in exceptions))
        (wordnet / f"data.{name}").write_text("  1 WordNet 3.0 Copyright\n")
    stopwords = folder / "corpora" / "stopwords"
    stopwords.mkdir()
    (stopwords / "english").write_text("\n".join(STOP_WORDS) + "\n")
