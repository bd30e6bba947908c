"""One vendor per file, each behind the provider port."""
