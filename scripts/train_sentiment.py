"""Train a sentiment classifier, or one of other classes of texts: python scripts/train_sentiment.py --help"""

from apps.command_line import train
from apps.sentiment.task import SENTIMENT

if __name__ == "__main__":
    raise SystemExit(train(SENTIMENT))
