"""What can go wrong for a user of results; the command line shows the message as one line."""


class ResultsError(Exception):
    """Root of every expected failure of `leaderboards`."""


class BadStore(ResultsError):
    """A results folder that cannot be used: a file in its place, no permission, a full disk, a damaged file."""


class BadSchema(ResultsError):
    """Records written by a newer version of this package."""


class UnknownRun(ResultsError):
    """A run that the store does not hold, or a prefix that several runs share."""


class RunLocked(ResultsError):
    """A run that another process is writing."""


class NotComparable(ResultsError):
    """Runs that cannot be set against each other: other questions, another metric."""


class Conflict(ResultsError):
    """Two runs with the same id and other content."""
