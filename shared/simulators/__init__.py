"""Stand-ins for cloud services that have no emulator good enough to prove the pipeline against."""
