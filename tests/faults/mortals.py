"Models that end their process, or hang, while they train at one width; a listener that takes time."

import multiprocessing
import os
import select
import signal
import time

from models import Net

HOW = {"exit": lambda: os._exit(9), "hang": lambda: select.select([], [], [], 3600)}
HOW |= {
    name: lambda n=getattr(signal, name): os.kill(os.getpid(), n)
    for name in ("SIGKILL", "SIGSEGV", "SIGABRT")
}


class Mortal(Net):
    "At `width`, at the tenth step, the worker it trains in ends, as `how` says; with a mark, once."

    width, how, mark, steps = 8, "exit", None, 0

    def forward(self, x):
        if self.training and self.layers[0].out_features == self.width:
            self.steps += 1
            if self.steps == 10 and self.may():
                HOW[self.how]()
        return super().forward(x)

    def may(self):
        if multiprocessing.parent_process() is None and self.how != "hang":
            return False  # this is the test itself
        if self.mark is None:
            return True
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def mortal(task, **how):
    "The task, with such a model."
    if "mark" in how:
        how["mark"] = str(how["mark"])
    task.model_cls = type("Mortal", (Mortal,), how)
    return task


class Slow:
    "A listener that makes every step last."

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, step):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:  # the sleeps of a test may be cut short
            time.sleep(0.005)
