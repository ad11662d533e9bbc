"""What happens by the clock ends with the node, however short that lived."""

import threading

from certeasy.jobs.schedule import Schedule


def test_what_is_wanted_at_once_is_done_at_once():
    done = threading.Event()
    schedule = Schedule()
    schedule.every(3600, done.set, at_once=True)
    schedule.start()
    assert done.wait(30)
    schedule.stop()


def test_a_schedule_that_is_stopped_at_once_ends_in_silence(monkeypatch):
    died: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    for _ in range(50):
        schedule = Schedule()
        for seconds in (30, 60, 600):
            schedule.every(seconds, lambda: None)
        schedule.every(60, lambda: None, at_once=True)
        schedule.start()
        schedule.stop()
    assert died == []
