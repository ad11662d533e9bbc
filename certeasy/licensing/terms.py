"""What a license is held against, beside the log: the configuration, the installation, and the
vendor's key that came with the program."""

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from certeasy.decide import license as deciding
from certeasy.decide.decision import Reader
from certeasy.decide.license import Configured, Standing
from certeasy.licensing import file, keys, vendor
from certeasy.settings import Settings
from projections.license import License


def configured(settings: Settings) -> Configured:
    """Return what of the settings a license is held against."""
    adcs = [each for each in settings.authorities if each.embedded is None]
    return Configured(settings.database.driver, len(adcs), settings.topology)


class Terms:
    """What follows from the license, for one installation and its settings."""

    def __init__(
        self,
        settings: Settings,
        installation_id: str,
        public_key: Ed25519PublicKey | None = None,
    ) -> None:
        """Take the vendor's key of this build, or another."""
        self.configured = configured(settings)
        self.installation = keys.installation_key(installation_id)
        self.vendor = public_key or vendor.public_key()
        self._looked: tuple[License | None, str] = (None, "")

    def forged(self, row: License | None) -> str:
        """Return why the license of the log is none of the vendor's for this installation, or
        ""."""
        if row is None or row.installed is None:
            return ""
        seen, found = self._looked
        if seen is None or seen.installed != row.installed:
            found = file.fault(row.installed, self.vendor, self.installation)
            self._looked = row, found
        return found

    def standing(self, rows: Reader, now: datetime) -> Standing:
        """Return what follows at a moment."""
        row = deciding.of(rows)
        return deciding.standing(row, self.configured, now, forged=self.forged(row))
