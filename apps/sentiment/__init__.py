"""Sentiment: what people feel, from a typed sentence to a long review."""
