"""Where the question-answering sets come from, and what to do with their files.

The addresses, sizes and hashes stand in data/sources.txt. NewsQA's licence lets nobody hand on its
files: for it there are steps instead.
"""

from pathlib import Path

from data.fetch import Source

# set -> the official SQuAD files of `data.download.squad_file`
SQUAD_SETS = {
    "squad": ("train-v2.0.json", "dev-v2.0.json"),
    "squad1": ("train-v1.1.json", "dev-v1.1.json"),
}
FETCHED = ("triviaqa", "nq", "quac", "mrqa")
SETS = (*SQUAD_SETS, *FETCHED, "newsqa")

# What comes after the download: "DIR" is the folder.
NEXT = {
    "triviaqa": "tar -xzf DIR/triviaqa-rc.tar.gz -C DIR    # 2.7 GB become about 16 GB",
    "nq": "python -m data.convert nq --help",
    "quac": "python -m data.convert quac --help",
    "mrqa": "python -m data.convert mrqa --help",
}

NEWSQA_STEPS = """\
NewsQA cannot be downloaded for you: its questions are Microsoft's and its stories CNN's, and each
asks you to accept terms first. The tools that put them together are at
https://github.com/Maluuba/newsqa, and need Docker or Python 2.7.

1. git clone https://github.com/Maluuba/newsqa
2. Questions and answers: sign in and accept the terms at
   https://msropendata.com/datasets/939b1042-6402-4697-9c15-7a28de7e1321
   and put the .tar.gz, not unpacked, into newsqa/maluuba/newsqa/
3. Stories: take CNN "Stories" (cnn_stories.tgz) from https://cs.nyu.edu/~kcho/DMQA/
   and put it, not unpacked, into the same folder
4. In newsqa/:
   docker build -t maluuba/newsqa .
   docker run --rm -it -v "$PWD":/usr/src/newsqa --name newsqa maluuba/newsqa
   which leaves combined-newsqa-data-v1.json and combined-newsqa-data-v1.csv there
5. For the split files (train.csv, dev.csv, test.csv in split_data/) as well:
   docker run --rm -it -v "$PWD":/usr/src/newsqa --name newsqa maluuba/newsqa \\
     /bin/bash --login -c 'python maluuba/newsqa/data_generator.py'
6. python -m data.convert newsqa --help

A version in another format is in `python -m data.download mrqa` (train/NewsQA.jsonl.gz and
dev/NewsQA.jsonl.gz): only questions that have an answer, stories cut at 800 words.
"""


def sources(name: str) -> list[Source]:
    """The files of a set.

    Args:
        name: one of FETCHED, or "nq-original".
    """
    found = []
    listed = (Path(__file__).parent / "sources.txt").read_text(encoding="utf-8")
    for line in listed.splitlines():
        if line.startswith(f"{name} "):
            _, size, sha256, place, url = line.split(" ")
            found.append(Source(place, url, int(size), None if sha256 == "-" else sha256))
    return found
