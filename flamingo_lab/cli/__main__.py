"""`python -m flamingo_lab.cli`: the command line where its script is not on the path."""

from flamingo_lab.cli import main

main()
