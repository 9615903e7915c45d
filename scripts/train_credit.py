"""Train a credit model: python scripts/train_credit.py --help"""

from apps.credit.command_line import train

if __name__ == "__main__":
    raise SystemExit(train())
