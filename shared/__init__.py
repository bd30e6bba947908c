"""Code that every function shares: rules, ports, stores, adapters and providers."""
