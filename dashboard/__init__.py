"""The leaderboard as pages for people: reads `leaderboards` only. `flab dashboard` opens it.

`app.py` is what Streamlit runs; a page is a file of `views/`. Everything that a page shows follows from its address, so
that a link opens the same view. Text of models and of data reaches the browser as text nodes (`tree.py`), never as markup.
"""
