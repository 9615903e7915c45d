"""The task of recognising handwritten digits."""
