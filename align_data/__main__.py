"""python -m align_data: for what starts modules, such as torchrun."""

from align_data.cli import main

main()
