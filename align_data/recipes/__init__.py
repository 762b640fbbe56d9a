"""Rules as data: what a recipe says, read from YAML."""
