#!/usr/bin/env python3
"""Prints an access log in common log format, always the same for the same number of lines: `access_log.py 5000`."""
import random
import sys

PAGES = ["/", "/about", "/docs", "/docs/api", "/img/logo.png", "/download/gristmill.tar.gz", "/search?q=mill", "/feed.xml"]
SIZES = [4_100, 2_300, 9_800, 31_000, 18_400, 5_200_000, 7_700, 12_000]

lines = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
dice = random.Random(4750)
for number in range(lines):
    day = 1 + number * 7 // lines
    second = dice.randrange(86_400)
    page = min(int(dice.expovariate(0.5)), len(PAGES) - 1)
    status = dice.choices([200, 304, 404, 500], [90, 6, 3, 1])[0]
    size = str(SIZES[page] + dice.randrange(500)) if status == 200 else "-" if status == 304 else "312"
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    host = f"192.0.2.{dice.randrange(1, 255)}"
    print(f'{host} - - [{day:02}/Nov/2026:{clock} +0000] "GET {PAGES[page]} HTTP/1.1" {status} {size}')
