"""Weights that stay in their files and pass through memory, for models that do not fit into it."""
