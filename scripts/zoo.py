"""The models there are: python scripts/zoo.py --help"""

from apps.command_line import zoo

if __name__ == "__main__":
    raise SystemExit(zoo())
