"""Recipes: rules as data, read from YAML; the table of operators; the plan that a recipe becomes for a dataset."""
