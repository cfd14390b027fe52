"""The ground the rooms stand on: files, progress, checks, the machine. Knows nothing of Karel."""
