"""Natural Questions at scale: data.convert beside bare reading of the same shards.

    python -m benchmarks convert --gigabytes 20       # 20 GB simplified and a fifth of it original

There is no Natural Questions here, so shards of it are made: pages of SQuAD's sentences, in another
order on every page, so that they compress like text; half of the questions unanswered, 35 % with a
short answer, 14 % with a long one only, 1 % yes or no. They are converted with two processes, and
the counts of the audit must be those of the mix. The peer reads the same shards with two processes
and does nothing but gzip and json.loads. Seconds are processor seconds, which other work on the
machine leaves alone; peak memory is the largest resident size of any process (Linux).
"""

import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.timing import Row

PROCESSES = 2
MIX = {"none": 50, "short": 35, "long": 14, "yes or no": 1}  # percent
REASONS = {
    "none": "no answer on the page",
    "long": "a long answer only",
    "yes or no": "the answer is yes or no",
}
SHARD = 200_000_000  # bytes, unpacked
MEMORY = 300  # MiB that a process may take
GOAL = 0.5  # of the speed of bare reading
ORIGINAL_PART = 0.2  # gigabytes of the original layout for one of the simplified


def measure(folder: Path, quick: bool, gigabytes: float = 1.0) -> list[Row]:
    """Two rows a layout: processor seconds beside bare reading, and peak memory.

    Raises:
        RuntimeError: the audit's counts are not those of the mix.
    """
    sizes = {"simplified": gigabytes, "original": gigabytes * ORIGINAL_PART}
    rows = []
    for layout, size in sizes.items():
        with tempfile.TemporaryDirectory(prefix="minibert-convert-") as place:
            rows += measure_layout(folder, Path(place), layout, size * (0.1 if quick else 1))
    return rows


def measure_layout(folder: Path, place: Path, layout: str, gigabytes: float) -> list[Row]:
    """Make shards, convert them, read them."""
    shards = place / "shards"
    shards.mkdir()
    begin = time.perf_counter()
    records, size = make_shards(folder, shards, layout, gigabytes * 1e9)
    packed = [path.stat().st_size for path in shards.iterdir()]
    say(
        f"{layout}: {records} records, {size / 1e9:.2f} GB in {len(packed)} shards, "
        f"packed {sum(packed) / 1e9:.2f} GB, made in {time.perf_counter() - begin:.0f} s"
    )
    out = place / "out.json"
    command = [sys.executable, "-m", "data.convert", "nq", str(shards), "--out", str(out)]
    converted = run([*command, "--jobs", str(PROCESSES)])
    audit = json.loads(out.with_name("out.audit.json").read_text(encoding="utf-8"))
    check_counts(audit, records)
    words = [sys.executable, "-m", "benchmarks.convert", str(shards)]
    bare = run(words)
    for what, (wall, processor, peak) in (("converted", converted), ("read", bare)):
        say(
            f"  {what} in {wall:.0f} s; {size / 1e6 / processor:.0f} MB/s for each process "
            f"({processor:.0f} processor seconds), at most {peak:.0f} MiB"
        )
    say(f"  {audit['records']}")
    what = f"NQ, {layout}, {size / 1e9:.1f} GB"
    return [
        Row(f"{what}: gzip + json alone", [converted[1]], [bare[1]], goal=GOAL),
        Row(f"{what}: peak of a process", [converted[2]], [bare[2]], "MiB", most=MEMORY),
    ]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def check_counts(audit: dict[str, Any], records: int) -> None:
    """Compare the audit with the mix."""
    found = {kind: audit["impossible"][reason]["count"] for kind, reason in REASONS.items()}
    found["short"] = audit["records"]["answerable"]
    wanted = {kind: records * percent // 100 for kind, percent in MIX.items()}
    if found != wanted or audit["records"]["kept"] != records:
        raise RuntimeError(f"the audit counts {found} of {audit['records']}, the mix is {wanted}")


def run(command: list[str]) -> tuple[float, float, float]:
    """Run a command: wall seconds, processor seconds of it and its children, MiB of the largest."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        peaks = [0.0]
        watcher = threading.Thread(target=watch, args=(process.pid, peaks))
        watcher.start()
        status = process.wait()
        watcher.join()
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        raise RuntimeError(f"{' '.join(command)} left with status {status}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used, peaks[0]


def watch(pid: int, peaks: list[float]) -> None:
    """Note the largest peak of a process and its children, in MiB, while it lives."""
    # ru_maxrss would count what the process that started them held, too.
    while Path(f"/proc/{pid}").exists():
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
            for number in (str(pid), *children):
                for line in Path(f"/proc/{number}/status").read_text(encoding="utf-8").splitlines():
                    if line.startswith("VmHWM:"):
                        peaks[0] = max(peaks[0], int(line.split()[1]) / 1024)
        except OSError:  # it has ended
            pass
        if Path(f"/proc/{pid}/stat").exists():
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1][:1]
            if state == "Z":
                return
        time.sleep(0.1)


# --- the peer


def read_bare(folder: Path) -> None:
    """Read all shards with two processes: gzip and json.loads, nothing else."""
    with get_context("spawn").Pool(PROCESSES) as pool:
        for _ in pool.imap_unordered(read_shard, sorted(folder.iterdir())):
            pass


def read_shard(path: Path) -> int:
    count = 0
    with gzip.open(path, "rb") as lines:
        for line in lines:
            json.loads(line)
            count += 1
    return count


# --- the shards


def make_shards(folder: Path, shards: Path, layout: str, size: float) -> tuple[int, int]:
    """Write shards of about `size` bytes, unpacked, in all; the number of records, and of bytes."""
    articles = json.loads((folder / "squad" / "dev-v2.0.json").read_bytes())["data"]
    contexts = [part["context"] for article in articles for part in article["paragraphs"]]
    sentences = [s.split() for context in contexts for s in context.split(". ") if len(s) > 30]
    count = max(PROCESSES, round(size / SHARD))
    jobs = [
        (shards / f"nq-train-{number:03d}.jsonl.gz", layout, size / count, number, sentences)
        for number in range(count)
    ]
    with get_context("spawn").Pool(PROCESSES) as pool:
        made = pool.starmap(make_shard, jobs, chunksize=1)
    return sum(records for records, _ in made), sum(written for _, written in made)


def make_shard(
    path: Path, layout: str, size: float, number: int, sentences: list[list[str]]
) -> tuple[int, int]:
    """Write one shard: hundreds of records with exactly the mix."""
    generator = random.Random(number)
    lines = [" ".join(words) for words in sentences]
    lengths = [len(words) for words in sentences]
    records = written = 0
    with gzip.open(path, "wb", compresslevel=3) as file:
        while written < size:
            kinds = [kind for kind, percent in MIX.items() for _ in range(percent)]
            generator.shuffle(kinds)
            for kind in kinds:
                identifier = number * 10_000_000 + records
                record = make_record(generator, lines, lengths, kind, identifier)
                if layout == "original":
                    record = as_original(record)
                line = json.dumps(record).encode() + b"\n"
                file.write(line)
                records += 1
                written += len(line)
    return records, written


def make_record(
    generator: random.Random, lines: list[str], lengths: list[int], kind: str, identifier: int
) -> dict[str, Any]:
    """A page of paragraphs and lists, about as long and as rich in candidates as the real ones."""
    parts = ["<H1> Page", str(identifier), "</H1>"]
    at = 4
    candidates = []
    for _ in range(generator.randint(10, 80)):
        chosen = generator.sample(range(len(lines)), generator.randint(4, 9))
        begin = at
        if generator.random() < 0.6:
            parts += ["<P>", *(f"{lines[s]} ." for s in chosen), "</P>"]
            at += 2 + sum(lengths[s] + 1 for s in chosen)
            candidates.append((begin, at, True))
            continue
        parts.append("<Ul>")
        at += 1
        place = len(candidates)
        for s in chosen:
            parts.append(f"<Li> {lines[s]} </Li>")
            candidates.append((at, at + lengths[s] + 2, False))
            at += lengths[s] + 2
        parts.append("</Ul>")
        at += 1
        candidates.insert(place, (begin, at, True))
    tops = [place for place, candidate in enumerate(candidates) if candidate[2]]
    place = generator.choice(tops)
    long = candidates[place]
    shorts = []
    if kind == "short":
        # inside the first sentence, which begins behind <P>, or <Ul> and <Li>
        start = long[0] + 2 + generator.randint(0, 3)
        shorts.append({"start_token": start, "end_token": start + generator.randint(1, 2)})
    answered = kind != "none"
    return {
        "example_id": identifier,
        "question_text": " ".join(generator.choice(lines).lower().split()[:9]),
        "document_url": f"https://en.wikipedia.org//w/index.php?title=Page_{identifier}&amp;oldid=1",
        "document_text": " ".join(parts),
        "long_answer_candidates": [
            {"start_token": begin, "top_level": top, "end_token": end}
            for begin, end, top in candidates
        ],
        "annotations": [
            {
                "annotation_id": identifier,
                "yes_no_answer": "YES" if kind == "yes or no" else "NONE",
                "long_answer": {
                    "start_token": long[0] if answered else -1,
                    "candidate_index": place if answered else -1,
                    "end_token": long[1] if answered else -1,
                },
                "short_answers": shorts,
            }
        ],
    }


def as_original(record: dict[str, Any]) -> dict[str, Any]:
    """The same record in the original layout: HTML, and a description of every token."""
    text = record.pop("document_text")
    tokens = []
    at = 0
    for token in text.split(" "):
        end = at + len(token)
        is_html = token[:1] == "<"
        tokens.append({"token": token, "start_byte": at, "end_byte": end, "html_token": is_html})
        at = end + 1
    record["document_title"] = record["document_url"].split("title=")[1].split("&")[0]
    record["document_html"] = text
    record["document_tokens"] = tokens
    return record


if __name__ == "__main__":
    read_bare(Path(sys.argv[1]))
