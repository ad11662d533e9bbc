"""Records for `DnsServer` that hooks of ACME clients can change: a TXT record is a file NAME/VALUE.

    with DnsServer({}) as dns:
        dns.records = TxtFolder(folder, {"*.lab.test": ["A 127.0.0.1"]})

`mkdir -p $FOLDER/_acme-challenge.web.lab.test && touch $FOLDER/_acme-challenge.web.lab.test/VALUE`
adds a record, `rm` takes it away.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class TxtFolder(Mapping[str, Sequence[str]]):
    """What is in the folder now, and other records that stay as they are."""

    def __init__(self, folder: Path, others: Mapping[str, Sequence[str]]) -> None:
        self.folder = folder
        self.others = others

    def __getitem__(self, name: str) -> Sequence[str]:
        values = [f"TXT {file.name}" for file in self._files(name)]
        return values or self.others[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.others
        yield from (child.name for child in self.folder.iterdir())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _files(self, name: str) -> list[Path]:
        return sorted(self.folder.glob(f"{name}/*")) if "*" not in name else []
