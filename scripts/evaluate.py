"""Test a trained model: python scripts/evaluate.py --help"""

from apps.command_line import evaluate

if __name__ == "__main__":
    raise SystemExit(evaluate())
