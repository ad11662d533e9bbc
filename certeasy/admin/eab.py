"""Instructions about external account bindings: to make a key, and to take one back."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from certeasy.admin.desk import Desk, InstructionRefused
from certeasy.admin.instructions import Instruction
from certeasy.decide import eab
from certeasy.ids import Ids
from certeasy.settings import IssuancePolicy, Settings
from events.eab import EabCreated
from events.signing import base64url

KEY_LENGTH = 32
MOST_USES = 10_000
LONGEST_COMMENT = 200
MOST_RULES = 100

_Word = Annotated[str, Meta(max_length=300)]


class EabMade(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key that was made. `hmac_key` is told this once: base64url without padding."""

    kid: str
    hmac_key: str
    directory: str
    expires: str = ""


class CreateEab(Instruction[EabMade], frozen=True, tag="eab-create"):
    """Make a key. What is left out restricts nothing (`events.eab.EabCreated`)."""

    result: ClassVar = EabMade

    valid: timedelta | None = None
    max_uses: Annotated[int, Meta(ge=0, le=MOST_USES)] = 0
    policy: _Word = ""
    profile: _Word = ""
    allow: Annotated[tuple[_Word, ...], Meta(max_length=MOST_RULES)] = ()
    challenges: Annotated[tuple[_Word, ...], Meta(max_length=20)] = ()
    prevalidated: bool = False
    comment: Annotated[str, Meta(max_length=LONGEST_COMMENT)] = ""

    def carry_out(self, desk: Desk) -> EabMade:
        """Make it; its MAC key goes into the database's secrets in the same moment."""
        office = desk.office
        _check(self, office.settings)
        kid, secret = office.ids.new(), _a_key(office.ids)
        expires = ""
        if self.valid is not None:
            expires = f"{office.clock.now() + self.valid:%Y-%m-%dT%H:%M:%SZ}"
        fact = EabCreated(
            kid=kid,
            expires=expires,
            max_uses=self.max_uses,
            policy=self.policy,
            profile=self.profile,
            allow=self.allow,
            challenges=self.challenges,
            prevalidated=self.prevalidated,
            comment=self.comment,
        )
        name = eab.secret_name(kid)
        wrapped = office.secrets.wrap(name, secret)
        desk.commit(lambda _rows, now: eab.create(fact, now), secrets=((name, wrapped),))
        directory = f"{office.settings.server.url[0]}/acme/directory"
        return EabMade(kid, base64url(secret), directory, expires)


class EabTaken(msgspec.Struct, frozen=True):
    """`anew`: the key was taken back now, and not before."""

    anew: bool


class RevokeEab(Instruction[EabTaken], frozen=True, tag="eab-revoke"):
    """Take a key back; its MAC key is destroyed in the same moment."""

    result: ClassVar = EabTaken

    kid: _Word

    def carry_out(self, desk: Desk) -> EabTaken:
        """Record it, unless it was."""
        committed = desk.commit(
            lambda rows, _now: eab.revoke(rows, kid=self.kid),
            dropped=(eab.secret_name(self.kid),),
        )
        return EabTaken(anew=committed is not None)


def _a_key(ids: Ids) -> bytes:
    """Return 32 random bytes whose text no command line takes for an option."""
    while base64url(secret := ids.random(KEY_LENGTH)).startswith("-"):
        pass
    return secret


def _check(wish: CreateEab, settings: Settings) -> None:
    """Refuse what the configuration does not have."""
    policies = {policy.name: policy for policy in settings.issuance_policies}
    profiles = {profile.name: profile.policy for profile in settings.profiles}
    if wish.policy and wish.policy not in policies:
        raise InstructionRefused(_unknown("policy", wish.policy, policies))
    if wish.profile and wish.profile not in profiles:
        raise InstructionRefused(_unknown("profile", wish.profile, profiles))
    under = profiles.get(wish.profile, wish.policy)
    if wish.policy not in {"", under}:
        raise InstructionRefused(
            f"the profile {wish.profile} is one of policy {under}, not of {wish.policy}: nothing"
            " could be ordered with such a key"
        )
    _check_challenges(wish, [policies[under]] if under else list(policies.values()))
    if not wish.comment.isprintable():
        raise InstructionRefused("the comment has characters in it that cannot be printed")


def _check_challenges(wish: CreateEab, policies: list[IssuancePolicy]) -> None:
    offered = sorted({kind for policy in policies for kind in policy.challenges})
    for kind in wish.challenges:
        if kind not in offered:
            raise InstructionRefused(_unknown("challenge type", kind, offered))


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    words = ", ".join(known) or "none"
    return f"no {what} {word!r} is configured; known: {words}"
