"""Many probes trained together on the same hidden states."""
