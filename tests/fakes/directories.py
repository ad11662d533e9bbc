"""A directory whose answers are recorded: the same objects, without a network."""

from collections.abc import Mapping, Sequence

from certeasy.ca.adcs import templates
from certeasy.ca.adcs.directory import Account, Root, Service, account_of, root_of, service_of
from certeasy.ca.adcs.ldap import Object

Objects = Mapping[str, Mapping[str, Sequence[bytes]]]


class RecordedDirectory:
    """Answers as a domain controller with these objects does."""

    how = "dc1.lab.test by LDAP, sealed by NTLM"
    before = ()

    def __init__(self, objects: Objects) -> None:
        self._objects = {
            dn: Object(dn, {name.lower(): values for name, values in attributes.items()})
            for dn, attributes in objects.items()
        }
        self.root: Root = root_of(self._objects[""], "dc1.lab.test")

    def services(self) -> tuple[Service, ...]:
        return tuple(service_of(each) for each in self._below("CN=Enrollment Services,"))

    def template(self, name: str) -> templates.Attributes | None:
        for each in self._below("CN=Certificate Templates,"):
            if each.first("cn") == name.encode():
                return each.attributes
        return None

    def account(self, user: str) -> Account | None:
        for each in self._objects.values():
            if each.first("sAMAccountName") == user.encode():
                return account_of(each, each)
        return None

    def trusted_for_logon(self) -> tuple[bytes, ...]:
        for each in self._below("CN=Public Key Services,"):
            if each.dn.startswith("CN=NTAuthCertificates,"):
                return tuple(each.attributes["cacertificate"])
        return ()

    def close(self) -> None:
        pass

    def _below(self, where: str) -> list[Object]:
        found = self._objects.values()
        return [each for each in found if each.dn.partition(",")[2].startswith(where)]
