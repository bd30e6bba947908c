"""Typed records over the document port, written once for every back end."""
