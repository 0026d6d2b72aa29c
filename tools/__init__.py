"""The tools that keep the book honest; run them as modules, for example `python -m tools.chapters --help`."""
