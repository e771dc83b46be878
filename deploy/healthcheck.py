"""Exit with 0 if the process in this container replies to /healthz."""

import http.client
import os
import sys

# Seconds, below the time-out of the image's health check.
SECONDS = 2

# The process refuses host names that are not allowed.
first = os.environ.get("ALLOWED_HOSTS", "").partition(",")[0].strip().removeprefix("*").removeprefix(".")
connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=SECONDS)
try:
    connection.request("GET", "/healthz", headers={"Host": first or "localhost"})
    status = connection.getresponse().status
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"/healthz: {error}")
if status != http.HTTPStatus.OK:
    sys.exit(f"/healthz: status {status}")
