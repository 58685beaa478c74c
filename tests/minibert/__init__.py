"""Tests of minibert/."""
