"""What spark-submit runs for `align-data filter`: the same options, on the master that spark-submit names."""

import sys

from align_data.cli import main

main(["filter", "--engine", "spark", *sys.argv[1:]])
