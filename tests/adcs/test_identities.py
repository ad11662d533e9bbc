"""Settings say who this server is."""

import pytest

from certeasy.ca.adcs.identities import identity_of
from certeasy.settings.adcs import AdcsSettings
from tests.fakes.clocks import HeldClock


def settings(tmp_path, **more) -> AdcsSettings:
    more = {name: tmp_path / value if name != "auth" else value for name, value in more.items()}
    return AdcsSettings(
        ca_name="LAB-CA", certificate_template="WebServer", domain="lab.test", user="svc", **more
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"keytab": "svc.keytab"}, "svc@LAB.TEST by keytab {}/svc.keytab"),
        ({"password_file": "pw"}, "svc@LAB.TEST by password-file {}/pw"),
        ({"ccache": "cc"}, "svc@LAB.TEST by ccache {}/cc"),
        ({"auth": "ntlm", "password_file": "pw"}, "lab.test\\svc by NTLM, password-file {}/pw"),
        ({"auth": "sspi"}, "the account that this server runs as (SSPI)"),
    ],
)
def test_who_we_are_is_told_before_anybody_is_asked(tmp_path, more, told):
    assert identity_of(settings(tmp_path, **more), HeldClock()).described == told.format(tmp_path)
