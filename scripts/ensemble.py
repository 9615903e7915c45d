"""Put trained networks together: python scripts/ensemble.py --help"""

from apps.command_line import ensemble

if __name__ == "__main__":
    raise SystemExit(ensemble())
