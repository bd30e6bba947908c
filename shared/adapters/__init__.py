"""Infrastructure behind the ports."""
