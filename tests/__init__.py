"""The tests mirror the packages: tests/eval/test_spans.py tests eval/spans.py."""
