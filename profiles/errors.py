"""What can be wrong with an observation that a user asked for."""


class ProfileError(RuntimeError):
    """A measurement was asked for that this machine cannot make.

    The message says what, where and what to do; commands end with exit code 2.
    """
