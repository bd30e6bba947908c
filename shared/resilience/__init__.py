"""Breaker, limiter and retry; their state is kept in documents that all instances share."""
