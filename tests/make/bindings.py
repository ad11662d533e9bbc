"""External account bindings: keys from the administrator's side of a running server, and clients
that register with them.
"""

import base64
import hashlib
import hmac
from typing import Any

from certeasy.admin.client import ask
from certeasy.admin.eab import CreateEab, EabMade
from tests.make.lab import URL, Client, Lab, Result
from tests.make.signers import Signer, b64

NEW_ACCOUNT = f"{URL}/acme/new-account"


def a_key(lab: Lab, **bounds: Any) -> EabMade:
    made = ask(lab.server.settings.workdir, CreateEab(**bounds))
    assert made is not None
    return made


def unpadded(text: str) -> bytes:
    """Decode a key as clients do."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def binding(
    key: EabMade,
    signer: Signer,
    *,
    alg: str = "HS256",
    secret: bytes | None = None,
    jwk: dict[str, Any] | bytes | None = None,
    **header: Any,
) -> dict[str, str]:
    """Return a binding as clients make it; `header` replaces members, None takes one out."""
    members = {"alg": alg, "kid": key.kid, "url": NEW_ACCOUNT} | header
    protected = b64({name: value for name, value in members.items() if value is not None})
    payload = b64(signer.jwk if jwk is None else jwk)
    how = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
    made = hmac.new(
        unpadded(key.hmac_key) if secret is None else secret,
        f"{protected}.{payload}".encode(),
        how.get(alg, hashlib.sha256),
    )
    return {"protected": protected, "payload": payload, "signature": b64(made.digest())}


def register(client: Client, bound: object, **wishes: Any) -> Result:
    """Ask for an account with this binding, and be that account where there is one."""
    asked = {"termsOfServiceAgreed": True, "externalAccountBinding": bound} | wishes
    result = client.post(NEW_ACCOUNT, asked, kid=None)
    if result.status_code in (200, 201):
        client.kid = result.headers["location"]
    return result


def bound_client(lab: Lab, **bounds: Any) -> tuple[Client, EabMade]:
    """Return a client whose account is bound with a key that has these bounds."""
    client, key = lab.client(), a_key(lab, **bounds)
    assert register(client, binding(key, client.signer)).status_code == 201
    return client, key
