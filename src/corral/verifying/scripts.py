"""The scripts with which containers are asked, and the reading of what they print.

A container has what its image has: a script is for `sh`, takes the first program that can do the work, and prints which
one it was. Lines of the script begin with a mark, so that they differ from the lines that a program prints by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = "corral-verify"
NO_TOOL = 127
"""The exit code of a script that finds no program for its work, and of `sh` that is not there."""
_LONGEST_S = 8
"""A request that is not answered within this time is not answered: health paths answer at once."""

_PYTHON = """\
import sys, time, urllib.error, urllib.request
begun = time.monotonic()
try:
    reply = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=float(sys.argv[2]))
except urllib.error.HTTPError as error:
    reply = error
except Exception as error:
    print(sys.argv[3], "error", getattr(error, "reason", error))
    sys.exit(1)
sys.stdout.write(reply.read().decode(errors="replace") + "\\n")
print(sys.argv[3], "status", reply.status, int((time.monotonic() - begun) * 1000))
"""
_BASH = """\
rest=${1#http://}; at=${rest%%/*}; path=/${rest#*/}; host=${at%:*}; port=${at##*:}
[ "$host" = "$at" ] && port=80
{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || { echo "$3 error cannot connect to $host, port $port"; exit 1; }
printf 'GET %s HTTP/1.0\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' "$path" "$at" >&3
read -r -t "$2" version status reason <&3 || { echo "$3 error no answer within $2 s"; exit 1; }
while IFS= read -r -t "$2" line <&3; do [ "${line%$'\\r'}" = "" ] && break; done
cat <&3
echo; echo "$3 status $status"
"""
_GET = """\
url=$1
if [ -n "$2" ]; then eval "own=\\${$2:-}"; [ -n "$own" ] && url=$own; fi
url=${url%/}$3
echo "$4 url $url"
if command -v curl >/dev/null 2>&1; then
  echo "$4 with curl"
  text=$(curl --silent --show-error --noproxy '*' --max-time "$5" \\
    --write-out "\\n$4 status %{http_code} %{time_total}s\\n" "$url" 2>&1)
  code=$?
  [ $code = 0 ] || text="$4 error $(echo "$text" | grep -v "^$4 status" | grep . | tail -n 1)"
  echo "$text"
  exit $code
fi
for python in python3 python; do
  if command -v $python >/dev/null 2>&1; then echo "$4 with $python"; exec $python -c "$6" "$url" "$5" "$4"; fi
done
if command -v wget >/dev/null 2>&1; then
  echo "$4 with wget"
  text=$(timeout "$5" wget -q -O - "$url" 2>/dev/null) && { echo "$text"; echo "$4 status 200"; exit 0; }
  echo "$4 error wget: $(timeout "$5" wget -O /dev/null "$url" 2>&1 | grep . | tail -n 1)"
  exit 1
fi
if command -v bash >/dev/null 2>&1; then echo "$4 with bash"; exec timeout "$5" bash -c "$7" bash "$url" "$5" "$4"; fi
exit 127
"""
_WRITE = """\
file=$1/.corral-verify-$$
trap 'rm -f "$file"' EXIT
trap 'exit 1' HUP INT TERM
error=$( { echo corral >"$file"; } 2>&1 ) || { echo "$2 error ${error##*: }"; exit 1; }
[ "$(cat "$file")" = corral ] || { echo "$2 error what was written is not what is read"; exit 1; }
echo "$2 written $file"
"""
_URL = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a container to a script; parts that it did not print are absent."""

    exit_code: int
    url: str | None = None
    """The address that was asked, without a password."""
    tool: str | None = None
    status: int | None = None
    """The status of HTTP."""
    took_ms: int | None = None
    error: str | None = None
    written: str | None = None
    """The file that was written, and is removed again."""
    body: str = ""

    @property
    def lacks_tool(self) -> bool:
        """Whether the container has no program for the question."""
        return self.status is None and self.error is None and self.written is None


def write_get(url: str, path: str, variable: str = "") -> tuple[str, ...]:
    """Write the command that sends a GET, to the address that `variable` has in the container, else to `url`."""
    return ("sh", "-c", _GET, "sh", url, variable, path, _MARK, str(_LONGEST_S), _PYTHON, _BASH)


def write_attempt(folder: str) -> tuple[str, ...]:
    """Write the command that writes a file to a folder, reads it, and removes it, whatever ends the script."""
    return ("sh", "-c", _WRITE, "sh", folder, _MARK)


def read_reply(exit_code: int, text: str) -> Reply:
    """Read what a script printed."""
    values: dict[str, str] = {}
    body: list[str] = []
    for line in text.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == _MARK:
            name, _, value = rest.partition(" ")
            values[name] = value.strip()
        else:
            body.append(line)
    status, _, took = values.get("status", "").partition(" ")
    return Reply(
        exit_code=exit_code,
        url=hide_password(values["url"]) if "url" in values else None,
        tool=values.get("with"),
        status=int(status) if status.isdigit() and int(status) else None,
        took_ms=_read_time(took),
        error=hide_password(values["error"]) if "error" in values else None,
        written=values.get("written"),
        body="\n".join(body).strip(),
    )


def hide_password(text: str) -> str:
    """Take the user and the password out of URLs in a text."""
    return _URL.sub("//", text)


def _read_time(text: str) -> int | None:
    """Read a time: whole milliseconds, or seconds as curl writes them."""
    try:
        return round(float(text.removesuffix("s")) * 1000) if text.endswith("s") else int(text)
    except ValueError:
        return None
