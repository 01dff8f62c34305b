"""The bridge to lm-eval (EleutherAI's lm-evaluation-harness), both ways. Needs the extra `lm-eval`.

`model`: our models as one of its model classes; `running`: its tasks asked by it, with the results in our store;
`task`: its tasks as ours; `export`: our tasks as its.
"""

PREFIX = "lm-eval:"
"""What stands before the name of one of lm-eval's tasks where ours are named too."""
