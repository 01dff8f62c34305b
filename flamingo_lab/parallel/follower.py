"""What a child of rank 0 runs: it reads its slice of the model, and computes what rank 0 says."""

from __future__ import annotations

import logging
import pickle
import sys
from typing import Any

from flamingo_lab.errors import LabError


def main() -> int:
    """The exit code. What is loaded comes from the parent, as the arguments of `loading.prepare`."""
    asked: tuple[Any, ...] = pickle.load(sys.stdin.buffer)
    logging.disable()  # what is to be said rank 0 says
    from flamingo_lab import loading

    try:
        loading.prepare(*asked).read()
    except LabError as error:
        print(error, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
