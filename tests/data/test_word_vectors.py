"""Word vectors in GloVe's format: what is read, and what is refused with its line."""

import numpy as np
import pytest

from data.word_vectors import read_vectors

IDS = {"a": 1, "b": 2, "naïve": 3, ". .": 4}


def read(tmp_path, content):
    path = tmp_path / "glove.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_vectors(path, IDS, 5)


def test_vectors_of_known_words_are_kept_and_the_others_counted(tmp_path):
    vectors = read(tmp_path, "b 1 -2.5 3e-1\nother 7 8 9\nnaïve .5 +1. 0\n. . 1 1 1")
    assert vectors.lines == 4
    assert vectors.found.tolist() == [False, False, True, True, True]
    expected = np.zeros((5, 3), np.float32)
    expected[2:] = [[1, -2.5, 0.3], [0.5, 1, 0], [1, 1, 1]]
    np.testing.assert_array_equal(vectors.values, expected)


def test_a_byte_order_mark_line_ends_and_a_space_at_the_end_are_no_part_of_a_vector(tmp_path):
    vectors = read(tmp_path, "\ufeffa 1 2 \r\nb 3 4\r\n")
    assert vectors.values[1:3].tolist() == [[1, 2], [3, 4]]


def test_the_first_word_may_hold_spaces_and_word2vecs_first_line_is_read(tmp_path):
    for content in (". . 1 2\na 3 4\n", "2 2\n. . 1 2\na 3 4\n", "2 2 \r\n. . 1 2\r\na 3 4"):
        vectors = read(tmp_path, content)
        assert vectors.lines == 2
        assert vectors.values[[1, 4]].tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "glove.txt holds no word"),
        ("2 3\n", "glove.txt holds no word"),
        ("a\nb 1\n", "line 1 has 0 numbers"),
        ("400000 50\na 1 2\n", "line 1 promises 50 numbers a word, line 2 has 2"),
        ("3 2\na 1 2\nb 1 2\n", "line 1 promises 3 words, but there are 2"),
        ("a 1 x 2\n", "line 1 has 'x' where a number is expected"),
        ("a 1 2 x\n", "line 1 has 'x' where a number is expected"),
        ("a 1 2\nb 1\n", "line 2 has 1 number, expected 2 as on the first"),
        ("a 1 2\nb 1 2 3\n", "line 2 has 3 numbers, expected 2"),
        ("a 1 2\n\nb 1 2\n", "line 2 has 0 numbers"),
        ("a 1 2\nb 1 x\n", "line 2 has 'x' where a number is expected"),
        ("a 1 2\nother 1 x\n", "line 2 has 'x'"),
        ("a 1 2\nb 1 nan\n", "line 2 has 'nan'"),
        ("a 1 2\nb 1 1_0\n", "line 2 has '1_0'"),
        ("a 1 2\nb 1\t2\n", "line 2 has 1 number"),
        ("a 1 2\nb  1 2\n", "line 2 has two spaces side by side"),
        ("a 1 2\nb 1  2\n", "line 2 has"),
        ("a 1 2\nb 1 1e999\n", "line 2 has a number beyond 10000 in the vector of 'b'"),
        ("a 1 2\nc 1 2\nc 1 2\n", "line 3 repeats the word 'c' of line 2"),
        (b"a 1 2\n\xff 1 2\n", "line 2 is not UTF-8 text"),
        (b"a 1 2\nb 1 \xff\n", "line 2 has '\ufffd'"),
    ],
)
def test_any_other_line_is_refused_with_its_number(tmp_path, content, sentence):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, content)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            read_vectors(path, IDS, 5)
