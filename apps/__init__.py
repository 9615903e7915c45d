"""The tasks: from raw input to arrays, training, prediction and pages."""
