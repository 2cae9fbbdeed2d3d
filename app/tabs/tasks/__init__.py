"""One file a task's tab: its words, its widgets, its examples, how its result is shown."""
