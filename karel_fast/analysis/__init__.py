"""Numbers made from a run folder's files: series, phases, results, comparisons. No pictures."""
