"""Train a digit classifier: python scripts/train_mnist.py --help"""

from apps.command_line import train
from apps.mnist.task import MNIST

if __name__ == "__main__":
    raise SystemExit(train(MNIST))
