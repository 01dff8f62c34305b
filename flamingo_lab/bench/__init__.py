"""How fast a model answers here, against what, and whether its answers depend on their company."""
