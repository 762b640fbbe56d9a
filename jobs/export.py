"""What spark-submit runs for `align-data export`: the same options, on the master that spark-submit names."""

import sys

from align_data.cli import main

main(["export", "--engine", "spark", *sys.argv[1:]])
