"""What spark-submit runs for `align-data fetch`: the same options, on the master that spark-submit names."""

import sys

from align_data.cli import main

main(["fetch", "--engine", "spark", *sys.argv[1:]])
