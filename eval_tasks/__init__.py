"""The benchmarks: samples, wordings, shots, metrics, and the runner that asks a model. No torch."""
