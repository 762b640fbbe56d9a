"""The stages: each reads tables, writes tables, and knows of no other stage."""
