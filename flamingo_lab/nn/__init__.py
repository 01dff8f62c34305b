"""The parts of the core, one mechanism a file."""
