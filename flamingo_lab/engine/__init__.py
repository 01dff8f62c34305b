"""How requests are answered: `reference` says what correct is, `loop` gives the same answers with less work."""
