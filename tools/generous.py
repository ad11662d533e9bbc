"""Limits that nobody meets, for servers which are loaded from one address, by one account.

They hold, so that what is tried out or measured goes the way it goes in service; they are only out
of reach.
"""

from certeasy.settings.limits import (
    AbuseLimit,
    AccountChanges,
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
LOGGED = 100
OPEN = 1000
GENEROUS = RateLimiting(
    global_=GlobalLimit(limit=MANY, burst=MANY),
    abuse=AbuseLimit(marks=MANY, recovery=MANY),
    account_creation=AccountCreation(limit=MANY, burst=MANY),
    account_changes=AccountChanges(limit=MANY, burst=MANY),
    order_creation=OrderCreation(limit=MANY, burst=MANY),
    san_budget=SanBudget(limit=MANY),
    duplicate_certificate=DuplicateCertificate(limit=LOGGED),
    failed_validation=FailedValidation(limit=LOGGED),
    pending_authorizations=PendingAuthorizations(limit=OPEN),
)
TEXT = f"""\
rate-limiting:
  global: {{limit: {MANY}, burst: {MANY}}}
  abuse: {{marks: {MANY}, recovery: {MANY}}}
  account-creation: {{limit: {MANY}, burst: {MANY}}}
  account-changes: {{limit: {MANY}, burst: {MANY}}}
  order-creation: {{limit: {MANY}, burst: {MANY}}}
  san-budget: {{limit: {MANY}}}
  duplicate-certificate: {{limit: {LOGGED}}}
  failed-validation: {{limit: {LOGGED}}}
  pending-authorizations: {{limit: {OPEN}}}
"""
"""The same as a section of config.yml."""
