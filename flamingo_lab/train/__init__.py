"""Training of the bundled model, by Flamingo's recipe on a scale of minutes."""
