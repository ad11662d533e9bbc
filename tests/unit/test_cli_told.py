"""What the system says against a file reaches an administrator in words, with the file's name."""

import errno

import pytest

from certeasy.cli.options import told


def said(capsys, error):
    @told()
    def command():
        raise error

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_file_that_may_not_be_used_is_named_and_whose_it_may_be(capsys):
    assert said(capsys, PermissionError(errno.EACCES, "Permission denied", "/srv/audit.log")) == (
        "certeasy: /srv/audit.log: Permission denied: is this the user that the server runs as?\n"
    )


def test_a_file_that_is_not_there_is_named(capsys):
    assert said(capsys, FileNotFoundError(errno.ENOENT, "No such file", "/srv/x")) == (
        "certeasy: /srv/x: No such file\n"
    )


def test_what_names_no_file_is_told_as_it_is(capsys):
    assert said(capsys, OSError("the disk is full")) == "certeasy: the disk is full\n"
