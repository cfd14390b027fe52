"""Samples on disk: Parquet shards with a manifest, and the original authors' JSON lines."""
