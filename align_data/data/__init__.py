"""What a dataset is: its tables, pairs, ledgers, signal columns, images, references and tombstones."""
