"""A Microsoft enterprise CA as it looks from the network: for tests, and for people without one.

What it speaks was written from Microsoft's open specifications: MS-RPCE (RPC), MS-NLMP (NTLM),
MS-ICPR, MS-WCCE, MS-CSRA, MS-DCOM. It knows nothing of Certeasy's connector, so that the two prove
each other. Its certificates are real ones under real keys; whatever a template is told to do, it
keeps a record of every certificate that it ever signed.

    python -m tools.adcs_sim --help
"""
