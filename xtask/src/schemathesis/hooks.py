"""What schemathesis does differently here."""

import re

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """A wait that the server takes is short: the task that it is for may never end."""
    wait = (case.query or {}).get("wait")
    if isinstance(wait, str) and re.fullmatch("[0-9]+(ms|s|m)", wait):
        case.query["wait"] = "1ms"
