"""Torture: align-data is killed, its files are damaged, its inputs mutated, its accounts counted again.

`make torture` runs four machines for some minutes each; every trial of a machine follows from a seed and a number, so
that a failure is one line to run again. tests/test_torture.py runs a few trials of each.

To add a command that is killed, or one that reads damaged files: a line in `commands.py`; a damage: a function and a
line in `damages.py`; a machine: a class with `trial` (see `trials.py`) and a line in `__main__.py`.
"""
