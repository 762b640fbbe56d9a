"""What the metrics of a run are called that are not retrieval."""

from __future__ import annotations

CHANCE = "chance"
"""The main metric of a model that guesses. It is of the evaluation, not of the arm."""
CHANCE_OF = "chance of "
"""Before the name of another metric: what guessing gives of it."""
LABELLED = ("zero-shot accuracy", "kNN accuracy")
"""Need classes of the evaluation pairs."""
NOISE = "noise detected"
"""Needs a file that lists the good pairs: the area under the ROC curve of the similarity, good pairs against others."""
GOOD = "good pairs"
"""The share of a run's own pairs that are good; it needs the same file."""
