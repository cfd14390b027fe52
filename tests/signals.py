"""Signals that arrive in the middle of training."""

import os


def signal_at(step, number):
    """In place of TrainingBar.__call__: this process gets signal `number` when `step` is reported."""

    def report(self, found):
        if found.step == step:
            os.kill(os.getpid(), number)

    return report
