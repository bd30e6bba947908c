"""The offline provider's studio: pictures, clips and texts made on this machine from prompt and seed."""
