"""Measures norn beside the least that any program would have to do: `python -m bench`."""
