"""Deployed functions, one file each, and the command line that runs them on a laptop."""
