#!/bin/sh
# Prints every word of stdin with a tab and a 1; words are what the oracle splits at ASCII white space.
export LC_ALL=C
tr -s ' \t\013\014\r' '\n\n\n\n\n' | sed -e '/^$/d' -e "s/\$/$(printf '\t')1/"
