"""What a run folder and a snapshot hold: the only place that says so."""
