"""Microsoft AD CS at the other end of a network: MS-ICPR to enrol, DCOM for the rest.

Nothing is imported here: a server without such an authority never loads impacket.
"""
