"""What the front ends share: what a user sees of jobs, workers and attempts as plain data, the
actions with their questions, and what is known of the store.

It imports no front end and no UI library. A cell is clean text and a *role*, which says what the
text means. Each front end decides how a role looks, which columns it shows and how wide they are.
"""
