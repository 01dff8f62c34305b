"""Models by transformers' own classes: their files, their processors, what is said to them, and how they answer."""
