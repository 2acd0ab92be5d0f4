#!/usr/bin/env python3
"""Adds up all darts and prints an estimate of pi."""
import sys

inside = thrown = 0
for line in sys.stdin:
    counts = line.split("\t")[1].split()
    inside, thrown = inside + int(counts[0]), thrown + int(counts[1])
if thrown:
    print(f"pi\t{4 * inside / thrown:.6f}\t{thrown} darts")
