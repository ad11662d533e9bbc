"""The HRESULTs that the simulator answers with of itself, and what Windows says with them."""

INVALID_ARGUMENT = 0x80070057
ACCESS_DENIED = 0x80070005
CLASS_NOT_REGISTERED = 0x80040154
FILE_NOT_FOUND = 0x80070002
BAD_REQUEST_STATUS = 0x80094003
PROPERTY_EMPTY = 0x80094004
ENROLL_DENIED = 0x80094011
TEMPLATE_DENIED = 0x80094012
ADMIN_DENIED = 0x80094014
UNSUPPORTED_CERT_TYPE = 0x80094800
NO_CERT_TYPE = 0x80094801
KEY_LENGTH = 0x80094811
ASN1_BAD_TAG = 0x8009310B

_SENTENCES = {
    ENROLL_DENIED: "The permissions on this certification authority do not allow the current user"
    " to enroll for certificates.",
    TEMPLATE_DENIED: "The permissions on the certificate template do not allow the current user"
    " to enroll for this type of certificate.",
    UNSUPPORTED_CERT_TYPE: "The requested certificate template is not supported by this CA.",
    NO_CERT_TYPE: "The request contains no certificate template information.",
    KEY_LENGTH: "The public key does not meet the minimum size required by the specified"
    " certificate template.",
    ASN1_BAD_TAG: "ASN1 bad tag value met.",
}


def sentence(code: int) -> str:
    """Return what a CA answers along with a code: a sentence, the code, whose decision it was."""
    text = _SENTENCES.get(code, "The request was denied.")
    signed = code - (1 << 32) if code >> 31 else code
    return f"{text} 0x{code:08x} ({signed})\r\nDenied by Policy Module"
