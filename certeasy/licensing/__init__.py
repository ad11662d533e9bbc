"""The license: what the vendor signed, for which installation, and what follows from it for a node.

Everything is verified here, offline, with the vendor's public key that came with the program.
"""
