#!/usr/bin/env python3
"""Each record is a number: the seed of ten thousand darts. Prints how many fell into the quarter circle."""
import random
import sys

DARTS = 10_000

for line in sys.stdin:
    dice = random.Random(int(line))
    inside = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(DARTS))
    print(f"darts\t{inside} {DARTS}")
