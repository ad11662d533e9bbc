"""The auditor's side: journals and databases checked, shown and folded again, without a server.

Needs msgspec and cryptography only. SQLite files are read with the standard library, which is why
this is the one package besides the store that speaks SQL.
"""
