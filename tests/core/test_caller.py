"""Who calls is known within the `with` alone, and to its own thread alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from bunryu.core.caller import Caller, called_by, present


def test_another_within_and_the_one_before_after() -> None:
    before, other = present(), Caller()
    with called_by(other):
        assert present() is other
    assert present() is before


def test_threads_that_overlap_leave_each_others_callers_alone() -> None:
    began, ended = Event(), Event()

    def first() -> Caller:
        with called_by(Caller()):
            began.wait(10)
        ended.set()
        return present()

    def second() -> tuple[bool, Caller]:
        own = Caller()
        with called_by(own):
            began.set()
            ended.wait(10)
            kept = present() is own
        return kept, present()

    before = present()
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(first), pool.submit(second)
        assert one.result() is before
        assert two.result() == (True, before)
    assert present() is before
