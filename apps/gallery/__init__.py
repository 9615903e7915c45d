"""The page of the models: results, cards and weights."""
