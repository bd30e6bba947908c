"""The deployed system on one machine: what `--emulators` starts. None of it is deployed."""
