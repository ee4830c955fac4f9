#!/bin/sh
# Submit a text with curl, wait for its end and print the message, then everything that happened to it.
#
#   sh examples/translate.sh "Good morning" fr
#
# As for the clients of Python, TQ_URL, or TQ_API_HOST and TQ_API_PORT, say where to, and TQ_API_TOKEN as whom.
set -eu

url=${TQ_URL:-http://${TQ_API_HOST:-127.0.0.1}:${TQ_API_PORT:-8000}}
url=${url%/}
id="example-$(date +%s)-$$" # an id of one's own makes it safe to send it again

call() {
    curl --silent --show-error --fail --retry 3 ${TQ_API_TOKEN:+-H "Authorization: Bearer ${TQ_API_TOKEN%%,*}"} "$@"
}

# Python writes JSON whatever is in the text: quotes, line breaks, control characters.
python3 -c 'import json, sys; text, message_id, language = sys.argv[1:]; print(json.dumps(
    {"content": text, "message_id": message_id, "priority": 9, "metadata": {"target_language": language}}))' \
    "$1" "$id" "$2" | call "$url/messages" -H 'Content-Type: application/json' -o /dev/null --data-binary @-
call "$url/messages/$id?wait=60"
echo
call --no-buffer "$url/messages/$id/events"
