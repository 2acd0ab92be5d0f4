#!/usr/bin/env python3
"""Step 2: the URLs with most bytes of each day. `top.py map` makes the day the key, `top.py reduce 3` keeps three."""
import heapq
import itertools
import sys


def map_lines():
    for line in sys.stdin:
        key, size = line.rstrip("\n").split("\t")
        day, url = key.split(" ", 1)
        print(f"{day}\t{size} {url}")


def reduce_pairs():
    most = int(sys.argv[2])
    pairs = (line.rstrip("\n").split("\t") for line in sys.stdin)
    for day, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        urls = ((int(size), url) for size, url in (value.split(" ", 1) for _, value in group))
        # Ties by name, so that the result does not depend on the order in which values come.
        for size, url in heapq.nsmallest(most, urls, key=lambda pair: (-pair[0], pair[1])):
            print(f"{day}\t{size}\t{url}")


{"map": map_lines, "reduce": reduce_pairs}[sys.argv[1]]()
