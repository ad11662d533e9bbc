"""What Windows' service manager is told, from the start to the end."""

from datetime import timedelta

from certeasy.serve.service_manager import (
    LONGEST_START,
    PARAMCHANGE,
    PRESHUTDOWN,
    STOP,
    ServiceManager,
    State,
    Status,
    is_waiting,
)

THE_END = STOP | PRESHUTDOWN


def a_start() -> tuple[ServiceManager, list[Status]]:
    """A service that has begun to start at 0, and what was told so far."""
    told: list[Status] = []
    return ServiceManager(told.append, now=0), told


def test_a_start_that_goes_on_says_so_with_a_checkpoint_that_grows():
    service, told = a_start()
    assert service.turn(1)
    assert service.turn(2)
    assert [each.state for each in told] == [State.START_PENDING] * 3
    assert [each.checkpoint for each in told] == [1, 2, 3]
    assert all(each.hint for each in told)


def test_who_is_served_is_told_once_and_turns_say_nothing_more():
    service, told = a_start()
    service.ready()
    assert service.turn(1)
    service.alive(5)
    assert told[1:] == [Status(State.RUNNING, THE_END | PARAMCHANGE)]


def test_a_start_that_waits_long_is_running_and_takes_no_other_settings_yet():
    service, told = a_start()
    assert service.turn(LONGEST_START + 1)
    assert told[-1] == Status(State.RUNNING, THE_END)
    assert is_waiting(told[-1].state, told[-1].accepted)
    service.ready()
    assert told[-1] == Status(State.RUNNING, THE_END | PARAMCHANGE)
    assert not is_waiting(told[-1].state, told[-1].accepted)
    assert not is_waiting(State.START_PENDING, THE_END)


def test_a_stop_goes_on_with_checkpoints_and_takes_nothing_until_it_is_over():
    service, told = a_start()
    service.ready()
    service.stopping()
    assert service.turn(1)
    service.stopping()  # the node says it, too
    service.stopped()
    states = [(each.state, each.accepted, each.checkpoint) for each in told[2:]]
    assert states == [
        (State.STOP_PENDING, 0, 1),
        (State.STOP_PENDING, 0, 2),
        (State.STOPPED, 0, 0),
    ]


def test_who_is_asked_to_stop_while_he_starts_is_not_running_in_between():
    service, told = a_start()
    service.stopping()
    service.ready()
    assert told[-1].state == State.STOP_PENDING


def test_a_stop_has_the_time_that_the_settings_give_it_and_no_more():
    service, _ = a_start()
    service.allow(timedelta(seconds=75))
    service.ready()
    assert service.turn(1000)
    service.stopping()
    assert service.turn(1001)  # from here on it is counted
    assert service.turn(1076)
    assert not service.turn(1077)


def test_the_end_is_told_once_with_its_code_and_nothing_after_it():
    service, told = a_start()
    service.stopped(1)
    service.stopped(0)
    service.stopping()
    service.ready()
    service.again()
    assert service.turn(500)
    assert told[1:] == [Status(State.STOPPED, 0, 1)]


def test_what_was_told_last_is_told_again_when_the_manager_asks():
    service, told = a_start()
    service.ready()
    service.again()
    assert told[-1] == told[-2]
