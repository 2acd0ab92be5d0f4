#!/usr/bin/env python3
"""Prints each word with a 1. A line comes in on stdin, `key TAB value` goes out on stdout."""
import sys

write = sys.stdout.buffer.write
for line in sys.stdin.buffer:
    for word in line.split():
        write(word + b"\t1\n")
