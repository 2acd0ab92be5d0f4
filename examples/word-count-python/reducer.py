#!/usr/bin/env python3
"""Adds up the numbers of each word. Lines come sorted by key, so that all of a word are together."""
import itertools
import sys

pairs = (line.rstrip(b"\n").split(b"\t", 1) for line in sys.stdin.buffer)
for word, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
    sys.stdout.buffer.write(b"%s\t%d\n" % (word, sum(int(count) for _, count in group)))
