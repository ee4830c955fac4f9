#!/bin/sh
# Submit a text with curl, wait for its end and print the message, then everything that happened to it.
#
#   sh examples/translate.sh "Good morning" fr
#
# With a token: TQ_API_TOKEN=… in the environment.
set -eu

url=${TQ_URL:-http://127.0.0.1:8000}
id="example-$(date +%s)-$$" # an id of one's own makes it safe to send it again

call() {
    curl --silent --show-error --fail --retry 3 ${TQ_API_TOKEN:+-H "Authorization: Bearer $TQ_API_TOKEN"} "$@"
}

text=$(printf %s "$1" | sed 's/[\\"]/\\&/g') # as JSON wants it
call "$url/messages" -H 'Content-Type: application/json' -o /dev/null -d '{
  "content": "'"$text"'", "message_id": "'"$id"'", "priority": 9, "metadata": {"target_language": "'"$2"'"}}'
call "$url/messages/$id?wait=60"
echo
call --no-buffer "$url/messages/$id/events"
