"""Translate through Celery's own interface, in a program that reaches the same Redis as tq's workers.

Beside `tq up` nothing has to be set; elsewhere REDIS_HOST says where it is.

python examples/celery_task.py "Good morning" fr
"""

import sys
import uuid

from tq.tasks import get_queue_for_priority, process_message

text, language = sys.argv[1:]
priority = 8
message = {
    "id": str(uuid.uuid4()),
    "content": text,
    "priority": priority,
    "metadata": {"target_language": language},
}
task = process_message.apply_async(args=[message], queue=get_queue_for_priority(priority))
print(task.get(timeout=60))
print(task.id, task.state)
