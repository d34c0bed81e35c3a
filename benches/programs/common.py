"""Timing that every interpreter here can run."""

import time


def best(function, repeat=7):
    """Seconds that the fastest of `repeat` calls took: the one the machine disturbed least."""
    fastest = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def import_loaded(count=200_000):
    for _ in range(count):
        import json


def arithmetic(count=300_000):
    total = 0
    for number in range(count):
        total += number * number % 7
    return total


def allocation(count=100_000):
    kept = None
    for number in range(count):
        kept = [number, (number, kept is None)]
    return kept
