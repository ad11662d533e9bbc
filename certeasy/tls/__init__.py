"""The server's own certificate: from files, or from one of its authorities."""
