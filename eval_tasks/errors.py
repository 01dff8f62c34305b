"""What can go wrong for a user of the benchmarks; the command line shows the message as one line."""


class TaskError(Exception):
    """Root of every expected failure of `eval_tasks`."""


class UnknownTask(TaskError):
    """A task, metric, wording, split or option that does not exist; the message names the nearest ones."""


class MissingData(TaskError):
    """A benchmark's files that are not where they were looked for."""


class BadRow(TaskError):
    """A row of a benchmark's files that lacks a field or holds something else than it should."""


class TooFewShots(TaskError):
    """More worked examples asked for than the split has to give."""


class PromptMismatch(TaskError):
    """A prompt that would reach the model with other pictures or shots than were declared."""


class BadPredictions(TaskError):
    """A file of predictions that cannot be read or joined with the task's targets."""


class PartialSet(TaskError):
    """A part of a benchmark under a metric that is only defined on all of it."""


class MissingTool(TaskError):
    """A program or package that a metric runs and that is not installed."""


class ToolFailed(TaskError):
    """A program that a metric runs and that did not do its work."""


class BadCache(TaskError):
    """A folder of kept features that cannot be read or written."""


class NoAnswer(TaskError):
    """An answer that is to be graded and does not exist, since the model failed on its question."""
