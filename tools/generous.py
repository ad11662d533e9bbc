"""Limits that nobody meets, for servers which are loaded from one address, by one account.

They hold, so that what is tried out or measured goes the way it goes in service; they are only out
of reach.
"""

from certeasy.settings.limits import (
    AbuseLimit,
    AccountCreation,
    DuplicateCertificate,
    FailedValidation,
    GlobalLimit,
    OrderCreation,
    PendingAuthorizations,
    RateLimiting,
    SanBudget,
)

MANY = 1_000_000
GENEROUS = RateLimiting(
    global_=GlobalLimit(limit=MANY, burst=MANY),
    abuse=AbuseLimit(marks=MANY, recovery=MANY),
    account_creation=AccountCreation(limit=MANY, burst=MANY),
    order_creation=OrderCreation(limit=MANY, burst=MANY),
    san_budget=SanBudget(limit=MANY),
    duplicate_certificate=DuplicateCertificate(limit=MANY),
    failed_validation=FailedValidation(limit=MANY),
    pending_authorizations=PendingAuthorizations(limit=MANY),
)
TEXT = f"""\
rate-limiting:
  global: {{limit: {MANY}, burst: {MANY}}}
  abuse: {{marks: {MANY}, recovery: {MANY}}}
  account-creation: {{limit: {MANY}, burst: {MANY}}}
  order-creation: {{limit: {MANY}, burst: {MANY}}}
  san-budget: {{limit: {MANY}}}
  duplicate-certificate: {{limit: {MANY}}}
  failed-validation: {{limit: {MANY}}}
  pending-authorizations: {{limit: {MANY}}}
"""
"""The same as a section of config.yml."""
