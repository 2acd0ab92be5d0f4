#!/bin/sh
# Sums the counts of each word; equal words come one after the other.
LC_ALL=C exec awk -F "$(printf '\t')" '
    $1 "" != word { if (NR > 1) print word "\t" count; word = $1 ""; count = 0 }
    { count += $2 }
    END { if (NR > 0) print word "\t" count }'
