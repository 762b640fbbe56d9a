"""Models by name: which packages bring them, what becomes of them, and the place where they are put."""
