"""The tasks there are."""

from collections.abc import Mapping

from apps.mnist.task import MNIST
from apps.sentiment.task import SENTIMENT
from apps.task import Task

TASKS: Mapping[str, Task] = {task.name: task for task in (MNIST, SENTIMENT)}
