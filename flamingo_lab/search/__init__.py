"""Models made of models: guided visual search (V*)."""
