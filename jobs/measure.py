"""What spark-submit runs for `align-data measure`: the same options, on the master that spark-submit names."""

import sys

from align_data.cli import main

main(["measure", "--engine", "spark", *sys.argv[1:]])
