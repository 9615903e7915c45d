"""The one error that every task raises for bad input."""


class InputError(ValueError):
    """What a person gave cannot be used.

    The message is one clear sentence that names the thing and the remedy. Command lines print it on standard
    error and exit with status 2; pages show it in place of a result.
    """
