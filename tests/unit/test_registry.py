from importlib import import_module
from pkgutil import iter_modules

import msgspec
import pytest

import events
from events import accounts, orders
from events.registry import (
    NAMES,
    TYPES,
    UPCASTERS,
    Event,
    NewerSchema,
    UndecodableEvent,
    UnknownEvent,
    decode_data,
    encode_data,
    event,
    name_of,
    upcaster,
)
from events.registry import _decoders as decoders


@pytest.fixture
def registered():
    """Give back what was registered before."""
    before = dict(TYPES), dict(NAMES), dict(UPCASTERS), dict(decoders)
    yield
    for kept, now in zip(before, (TYPES, NAMES, UPCASTERS, decoders), strict=True):
        now.clear()
        now.update(kept)


def test_every_event_has_a_permanent_name():
    modules = [import_module(f"events.{one.name}") for one in iter_modules(events.__path__)]
    structs = [
        struct
        for module in modules
        for struct in vars(module).values()
        if isinstance(struct, type) and issubclass(struct, Event) and struct is not Event
    ]
    assert {TYPES[NAMES[struct][0]] for struct in structs} == set(structs) == set(TYPES.values())
    assert name_of(orders.OrderReady()) == ("order.ready", 1)


def test_an_unknown_event_is_refused_by_name():
    with pytest.raises(UnknownEvent, match=r"future\.happened") as unknown:
        decode_data("future.happened", 1, b"{}")
    assert unknown.value.kind == "future.happened"


def test_a_newer_schema_is_refused_by_name():
    with pytest.raises(NewerSchema, match=r"node\.stopped.*schema 2.*up to 1") as newer:
        decode_data("node.stopped", 2, b"{}")
    assert newer.value.kind == "node.stopped"


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (1, b"{}"),
        (1, b"[]"),
        (1, b'{"boot_id":7}'),
        (1, b"\xff"),
        (1, b'{"boot_id":"\xff"}'),
        (1, b'{"boot_id":"x","more":' + b"[" * 100_000),
        (0, b'{"boot_id":"x"}'),
        (-1, b'{"boot_id":"x"}'),
    ],
)
def test_data_of_another_shape_is_refused(schema, data):
    with pytest.raises(UndecodableEvent, match=r"node\.stopped"):
        decode_data("node.stopped", schema, data)


@pytest.mark.usefixtures("registered")
def test_old_shapes_are_read_through_every_upcaster():
    @event("door.opened", schema=3)
    class DoorOpened(Event, frozen=True):
        who: str
        door: int

    @upcaster("door.opened", 1)
    def door_opened_1_to_2(data):
        return {"who": data["name"], "door": data["door"]}

    @upcaster("door.opened", 2)
    def door_opened_2_to_3(data):
        return {**data, "door": int(data["door"])}

    opened = DoorOpened("ada", 7)
    assert decode_data("door.opened", 1, b'{"name":"ada","door":"7"}') == opened
    assert decode_data("door.opened", 2, b'{"who":"ada","door":"7"}') == opened
    assert decode_data("door.opened", 3, encode_data(opened)) == opened
    with pytest.raises(UndecodableEvent, match="schema 2"):
        decode_data("door.opened", 2, b'{"door":"7"}')


def test_members_at_their_default_are_left_out_and_read_back():
    assert msgspec.json.decode(encode_data(accounts.AccountContactsChanged("a"))) == {
        "account_id": "a"
    }
    fact = accounts.AccountCreated("a", "t", {"kty": "OKP"}, terms_agreed=True)
    assert decode_data("account.created", 1, encode_data(fact)) == fact
