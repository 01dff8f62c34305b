"""`flab`: the command line. One file a verb; the only code that may import all four packages.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a bug, 2 the user's error, 3 a run above its error
rate, 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import sys

import typer

from eval_tasks.errors import TaskError
from flamingo_lab.cli import (
    ask,
    bench,
    check,
    dashboard,
    evaluate,
    grade,
    listing,
    lm_eval,
    options,
    quantise,
    results,
    score,
    show,
    train,
)
from flamingo_lab.errors import LabError
from leaderboards.errors import ResultsError

USER_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    name="flab",
    help="Ask open vision-language models the questions of any benchmark, and see which is better.",
    epilog=options.example("flab eval --model flamingo-tiny --tasks easy-vqa --limit 200"),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (evaluate, ask, check, quantise, score, grade, lm_eval, bench, dashboard, train):
    module.register(app)
app.add_typer(listing.app, name="list")
app.add_typer(show.app, name="show")
app.add_typer(results.app, name="results")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of a command line. Expected failures become one message on stderr."""
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:  # an option or argument that is not one
        said = error.format_message()
        is_help = said.startswith("Usage:")  # of a command without arguments
        about = "\n(flab --help, or --help after a verb, says what there is)"
        print(said if is_help else f"error: {said}{about}", file=sys.stderr)
        return USER_ERROR
    except (LabError, TaskError, ResultsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        if not isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
            raise
        sys.stdout = None  # the reader of our output has seen enough; typer ends with 1 where it notices first
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = None
        print(f"error: the output could not be written ({error.strerror})", file=sys.stderr)
        return USER_ERROR
    if code == INTERRUPTED:
        print("stopped; the same command goes on where this one ended", file=sys.stderr)
    return code if isinstance(code, int) else 0
