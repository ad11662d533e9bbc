"""The golden journals: a line of every event type, as the version that brought it wrote it.

    python -m tests.make.golden tests/replay

Old lines decode for ever, so a golden journal that was released is never written anew: what came
later gets files of its own, `golden-2.*`, with the shapes that it has then.
"""

import hashlib
import sys
from pathlib import Path

from events.authorities import AuthorityFailed, AuthorityRecovered
from events.envelope import Actor
from events.limits import LimitsReset
from events.nodes import (
    ClockSetBack,
    JournalRefilled,
    LeaseTaken,
    NodeStopped,
    RequestRefused,
    SettingsLoaded,
    TlsCertificateInstalled,
)
from events.orders import CaaCheck, OrderCaaChecked, OrderFinalized
from events.recovery import LogRestored
from events.sealing import Subject
from events.subjects import SubjectErased
from tests.make.journals import ALog, a_log, a_rotation
from tests.make.stories import (
    a_campaign,
    a_loss,
    a_recovery,
    an_inventory,
    bindings,
    doubts,
    every_story,
    licenses,
    what_leaves,
)


def golden_log() -> ALog:
    """Return a log of two nodes in which everything happens that can."""
    log = a_log(nodes=2)
    first, second = (f"node/{node.server_id}" for node in log.nodes)
    log.say(LeaseTaken(1), first)
    log.say(SettingsLoaded("5e" * 32, {"topology": "single", "url": ["https://acme.lab"]}), first)
    log.a_start()
    every_story(log)
    log.say(RequestRefused("policy", "not allowed by policy lab", 3, ["evil.example"]), "refused")
    log.say(
        TlsCertificateInstalled(
            bundle="own",
            authority="lab",
            hosts=["acme.lab"],
            sha256="7e" * 32,
            not_after="2027-02-21T12:00:00.000000Z",
            certificate=b"the server's own certificate",
        ),
        "tls/own",
    )
    log.say(NodeStopped("boot-6"), first)
    log.say(LeaseTaken(2, log.nodes[0].server_id), second, by=1)
    log.say(JournalRefilled(2, 4, "the disk was replaced"), second, by=1)
    latest, clock = "2026-11-23T12:00:20.000000Z", "2026-11-23T11:00:00.000000Z"
    log.say(ClockSetBack(latest, clock), second, by=1)
    log.an_order("later.corp.internal", account=log.an_account(contact=None, by=1), by=1)
    return log


def segmented_log() -> ALog:
    """Return a log of one node whose journal was closed twice."""
    log = a_log()
    a_rotation(log)
    log.a_start()
    log.an_order("web.corp.internal")
    a_rotation(log, "size")
    log.a_start()
    return log


def nodes_log() -> ALog:
    """Return a log of nodes that came, by invitation or endorsed later, changed keys and went."""
    log = a_log()
    log.a_start()
    log.a_node(invitation=log.an_invitation())
    log.a_start(by=1)
    log.a_key_rotation()
    log.a_node(endorsed=False)
    log.a_start(by=2)
    log.a_key_rotation(by=2)
    log.an_endorsement(2, by=1)
    log.an_invitation(by=2)
    log.a_retirement(1, by=2)
    log.a_key_rotation()
    log.an_order("web.corp.internal")
    return log


def erased_log() -> ALog:
    """Return a log in which one who had an account was erased, and went on."""
    log = a_log()
    account = log.an_account()
    log.a_new_order("web.corp.internal", account=account)
    subject = f"account/{account}"
    by = Actor("administrator", sealed=log.sealed("administrator/1", "admin"))
    log.say(SubjectErased(subject), subject, actor=by)
    log.subjects[subject] = hashlib.sha256(b"the account's next key").digest()
    log.a_new_order("mail.corp.internal", account=account)
    return log


def restored_log() -> ALog:
    """Return a log whose database was lost once, and put back from the journal."""
    log = a_log()
    log.a_start()
    last = log.position
    fact = LogRestored(1, last, log.head, (log.nodes[0].server_id,))
    log.say(fact, "log")
    log.an_order("web.corp.internal")
    return log


def forked_log() -> ALog:
    """Return a log whose second node lost lines, and recorded anew what they had told."""
    log = a_log(nodes=2)
    lost = a_loss(log, lambda: log.an_order("web.corp.internal", by=1), by=1)
    log.an_order("www.corp.internal")
    a_recovery(log, lost, by=1)
    log.an_order("later.corp.internal", by=1)
    return log


def orders_log() -> ALog:
    """Return a log with orders of a profile, for a successor, and a proof ahead of any order."""
    log = a_log()
    account = log.an_account()
    first = log.an_order("web.corp.internal", account=account)
    log.a_new_order("web.corp.internal", account=account, profile="short", replaces=first)
    log.a_new_order("mail.corp.internal", account=account, preauthorization=True)
    return log


def prevalidated_log() -> ALog:
    """Return a log with an order that had nothing to prove."""
    log = a_log()
    names = ("web.corp.internal", "www.corp.internal")
    log.a_known_order(*names, account=log.an_account())
    return log


def renewal_log() -> ALog:
    """Return a log in which a certificate is renewed, and its successor, too."""
    log = a_log()
    account = log.an_account()
    first = log.an_order("web.corp.internal", account=account)
    second = log.an_order("web.corp.internal", "www.corp.internal", account=account, replaces=first)
    log.an_order("www.corp.internal", account=account, replaces=second)
    return log


def campaign_log() -> ALog:
    """Return a log in which certificates are asked to be renewed, and one of them is."""
    log = a_log()
    account = log.an_account()
    orders = [log.an_order(f"{n}.corp.internal", account=account) for n in range(3)]
    a_campaign(log, *orders)
    log.an_order("0.corp.internal", account=account, replaces=orders[0])
    a_campaign(log, orders[1], authority="")
    return log


def ends_log() -> ALog:
    """Return a log with an order that was given up, one that ran out, and another account key."""
    log = a_log()
    account = log.an_account()
    log.a_given_up_order("web.corp.internal", account=account)
    log.an_expired_order("web.corp.internal", "www.corp.internal", account=account)
    log.a_key_change(account)
    return log


def caa_log() -> ALog:
    """Return a log with an order whose names' CAA records were looked at again."""
    log = a_log()
    account = log.an_account()
    order = log.a_known_order("web.corp.internal", "www.corp.internal", account=account)
    checks = (
        CaaCheck(0, "permits", at="corp.internal"),
        CaaCheck(1, "unknown", "www.corp.internal could not be looked up"),
    )
    log.say(OrderCaaChecked(checks), f"order/{order}", actor=log.actor(account))
    log.say(OrderFinalized(b"csr", "0" * 64), f"order/{order}", actor=log.actor(account))
    return log


def eab_log() -> ALog:
    """Return a log with external account bindings, and an account with one that was lost."""
    log = a_log(nodes=2)
    bindings(log)
    kid = log.an_eab_key(max_uses=1)
    lost = a_loss(log, lambda: log.an_account(eab=kid, by=1), by=1)
    log.a_start()
    a_recovery(log, lost, by=1)
    return log


def authorities_log() -> ALog:
    """Return a log with an authority that failed and came back."""
    log = a_log()
    log.say(AuthorityFailed("lab", "the RPC server is unavailable", "0x800706ba"), "authority/lab")
    failed = log.records[-1].envelope.at
    log.say(AuthorityRecovered("lab", failed), "authority/lab")
    log.say(AuthorityFailed("lab", "it did not answer"), "authority/lab")
    return log


def doubts_log() -> ALog:
    """Return a log with answers that were lost, requests that wait, twins, and revocations that
    authorities were told of."""
    log = a_log()
    log.an_issuer()
    doubts(log)
    return log


def inventory_log() -> ALog:
    """Return a log in which an administrator revokes a certificate, and closes its account."""
    log = a_log()
    an_inventory(log)
    return log


def retention_log() -> ALog:
    """Return a log in which what is over leaves the tables."""
    log = a_log()
    log.an_issuer()
    what_leaves(log)
    return log


def limits_reset_log() -> ALog:
    """Return a log in which an administrator has it forgotten what was counted of clients."""
    log = a_log()
    account = log.an_account()
    log.say(LimitsReset(("order-creation", "san-budget"), account), f"limits/{account}")
    address = Subject("administrator/1", b"k" * 32).seal(b"203.0.113.7", b"n" * 12)
    log.say(LimitsReset(("global",), address=address), "limits/addresses")
    return log


def license_log() -> ALog:
    """Return a log with all that can be said about a license."""
    log = a_log()
    licenses(log)
    return log


GOLDEN = {
    "golden-1": golden_log,
    "golden-2": segmented_log,
    "golden-3": nodes_log,
    "golden-4": erased_log,
    "golden-restored": restored_log,
    "golden-forked": forked_log,
    "golden-orders": orders_log,
    "golden-prevalidated": prevalidated_log,
    "golden-renewal": renewal_log,
    "golden-campaign": campaign_log,
    "golden-ends": ends_log,
    "golden-caa": caa_log,
    "golden-eab": eab_log,
    "golden-authorities": authorities_log,
    "golden-doubts": doubts_log,
    "golden-inventory": inventory_log,
    "golden-retention": retention_log,
    "golden-limits-reset": limits_reset_log,
    "golden-license": license_log,
}


def main(folder: Path) -> None:
    """Write the journals and the key sets that are not there yet."""
    for name, make in GOLDEN.items():
        if (folder / f"{name}.keys.json").exists():
            continue
        log = make()
        for number, node in enumerate(log.nodes, start=1):
            (folder / f"{name}.node{number}.log").write_bytes(node.journal)
        (folder / f"{name}.keys.json").write_bytes(log.key_set() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
