"""The page where a visitor trains a network."""
