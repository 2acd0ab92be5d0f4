#!/usr/bin/env python3
"""Step 1: bytes of each URL on each day. `traffic.py map` reads log lines, `traffic.py reduce` adds up."""
import itertools
import re
import sys
from datetime import datetime

LINE = re.compile(r'\S+ \S+ \S+ \[([^:]+)[^]]*\] "\S+ (\S+)[^"]*" \d+ (\d+|-)')


def map_lines():
    for line in sys.stdin:
        found = LINE.match(line)
        if found is None:
            # Counted, and in the task's log: a broken line is no reason to lose the others.
            print("reporter:counter:log,broken lines,1", file=sys.stderr)
            continue
        day, url, size = found.groups()
        day = datetime.strptime(day, "%d/%b/%Y").date()
        print(f"{day} {url}\t{0 if size == '-' else size}")


def reduce_pairs():
    pairs = (line.rstrip("\n").split("\t") for line in sys.stdin)
    for key, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        print(f"{key}\t{sum(int(size) for _, size in group)}")


{"map": map_lines, "reduce": reduce_pairs}[sys.argv[1]]()
