"""What people meet at generation's addresses.

Every view is a function in one shape: its methods, sign-in, the row through `projects/access.py`
(a stranger gets 404), one verb, an answer.
"""
