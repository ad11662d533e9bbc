"""What the connector for Active Directory Certificate Services has to know."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]
RpcText = Annotated[str, Meta(min_length=1, max_length=255)]


class AdcsSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A CA of a Windows domain, and who this server is to it."""

    ca_name: RpcText
    r"""The CA's common name, or `HOST\COMMON NAME` as `certutil` prints it."""
    certificate_template: RpcText
    """The template's name (its cn), not its display name."""
    host: RpcText | None = None
    """The CA's machine as its service principal has it: the DNS name; None: that of `ca_name`."""
    address: RpcText | None = None
    """Connected to in the place of looking the host up."""
    transport: Literal["auto", "tcp", "np"] = "auto"
    """`tcp`: RPC over TCP; `np`: over the named pipe (SMB); `auto`: TCP, and if that surely did not
    reach the CA, the pipe."""
    port: Port = 0
    """Of the CA's RPC interface; 0: the endpoint mapper is asked."""
    endpoint_mapper_port: Annotated[int, Meta(ge=1, le=65535)] = 135
    smb_port: Annotated[int, Meta(ge=1, le=65535)] = 445
    auth: Literal["kerberos", "ntlm", "sspi"] = "kerberos"
    """`sspi`: the account that the server runs as, on Windows."""
    domain: RpcText | None = None
    """The domain's DNS name."""
    user: RpcText | None = None
    """The account's name in the domain (sAMAccountName)."""
    password_file: Path | None = None
    keytab: Path | None = None
    ccache: Path | None = None
    """A credential cache that something else renews."""
    domain_controllers: tuple[str, ...] = ()
    """`host` or `host:port`; none: found by the SRV records of the domain."""
    connect_timeout: timedelta = timedelta(seconds=10)
    default_timeout: timedelta = timedelta(minutes=4)
    """For one call, whatever the CA does."""
    request_attributes: bool = True
    """Whether a request tells the CA's database which order and node it came from."""
    ca_certificates: Path | None = None
    """PEM: the CA's certificates and those above; None: the CA is asked for them."""
    lost_answers: Literal["resubmit", "probe"] = "resubmit"
    """What is done about a request whose answer was lost: `probe` looks at the CA's next requests
    for it; `resubmit` asks for another certificate and records that there may be a twin."""
    publish_crl: bool = False
    """Whether the CA is told to publish its revocation list after each revocation."""

    @property
    def common_name(self) -> str:
        """The CA's common name: what its interface knows it by."""
        return self.ca_name.rpartition("\\")[2]

    @property
    def server(self) -> str:
        """The name of its machine, lower-case; empty if it is not said."""
        return (self.host or self.ca_name.rpartition("\\")[0]).lower()


class AdcsCliSettings(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The same CA, by the programs that Windows has for it: the account that the server runs as."""

    ca_name: RpcText
    r"""`HOST\COMMON NAME`, as `certutil` prints it."""
    certificate_template: RpcText
    default_timeout: timedelta = timedelta(minutes=4)
    request_attributes: bool = True
    ca_certificates: Path | None = None
    certreq_path: Path | None = None
    """None: the one of Windows."""
    certutil_path: Path | None = None
