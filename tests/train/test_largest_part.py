"""train/largest_part.py: found in few tries, never too large."""

import pytest

from train.largest_part import PRECISION, largest_that_fits


@pytest.mark.parametrize("first", [1, 7, 32, 5000])
@pytest.mark.parametrize("most", [1, 3, 64, 1000])
def test_the_answer_fits_and_little_more_would(first, most):
    for limit in range(1500):
        tried = []

        def fits(number, limit=limit, tried=tried):
            assert 1 <= number <= most and number not in tried
            tried.append(number)
            return number <= limit

        found = largest_that_fits(fits, first, most)
        best = min(limit, most)
        assert found <= best and best - found <= found // PRECISION
        assert found in (0, *tried) and len(tried) <= 18
