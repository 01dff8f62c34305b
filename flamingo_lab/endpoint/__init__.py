"""Models behind an OpenAI-compatible endpoint: what is sent, how patiently, and what the reply means. Needs no torch."""
