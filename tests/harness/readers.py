"""Every reader of files from outside."""

from harness import critics, logs, records

READERS = [*records.READERS, *critics.READERS, *logs.READERS]
