"""How many letters have to be put in, taken out or changed to make one text of another."""

from __future__ import annotations


def edit_distance(one: str, other: str) -> int:
    """The Levenshtein distance.

    A column of the usual table is held as two integers, whose bits say where the distance rises or falls by one from a
    row to the next (Myers 1999 in the form of Hyyrö 2003): a step costs a few operations on integers as long as the
    shorter text, so a short target is compared with a megabyte in well under a second.
    """
    pattern, text = sorted((one, other), key=len)
    if not pattern:
        return len(text)
    places: dict[str, int] = {}
    for row, letter in enumerate(pattern):
        places[letter] = places.get(letter, 0) | 1 << row
    every, last = (1 << len(pattern)) - 1, 1 << (len(pattern) - 1)
    rises, falls, distance = every, 0, len(pattern)
    for letter in text:
        equal = places.get(letter, 0)
        vertical = equal | falls
        horizontal = (((equal & rises) + rises) ^ rises) | equal
        right_rises = falls | (every & ~(horizontal | rises))
        right_falls = rises & horizontal
        distance += bool(right_rises & last) - bool(right_falls & last)
        # The table's first row counts the letters of the text, so it rises at every step.
        right_rises = right_rises << 1 | 1
        right_falls = right_falls << 1
        rises = every & (right_falls | ~(vertical | right_rises))
        falls = every & right_rises & vertical
    return distance
