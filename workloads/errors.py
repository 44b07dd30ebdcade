"""What can be wrong with traffic that a user asked for."""


class WorkloadError(ValueError):
    """A workload, arrival process or length distribution cannot be used as asked.

    The message says what, where and what to do; commands end with exit code 2.
    """
