"""Ask a trained model: python scripts/predict.py --help"""

from apps.command_line import predict

if __name__ == "__main__":
    raise SystemExit(predict())
