"""Other question-answering sets -> SQuAD v2 JSON, with an audit: `python -m data.convert`.

What each set's converter keeps, turns impossible and leaves out, and why, is in docs/datasets.md.

    reading.py     one input file, read once in bounded memory: lines, array elements, csv rows
    passages.py    what a converter makes: a passage with its questions, every answer in its place
    triviaqa.py, nq.py, quac.py, newsqa.py, mrqa.py    one set each
    shards.py      one process for each input file; finished ones survive whatever ends the rest
    output.py      the finished parts -> one file
    audit.py       what was read, kept, turned impossible, left out and dropped, and why
"""
