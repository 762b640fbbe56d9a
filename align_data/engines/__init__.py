"""Engines run the same batch functions on the same parts, on one machine or on many."""
