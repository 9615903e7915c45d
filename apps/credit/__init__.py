"""Credit scoring: from a table of applicants to a probability of default, points, a decision and its reasons."""
