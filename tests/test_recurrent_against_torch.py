"""Layers of sequences against PyTorch, in float64, with sequences of different lengths."""

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
nn, functional = torch.nn, torch.nn.functional
