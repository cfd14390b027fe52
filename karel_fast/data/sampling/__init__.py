"""Drawing samples: a recipe and an index become programs and worlds, the same bits from every backend."""
