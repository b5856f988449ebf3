"""Staff in the chat of their organisation: commands, approvals by buttons, and a channel for each incident.

A chat decides nothing of its own: whoever writes or clicks there is one of the portal's people (`ChatAccount`), and
the verb is the one that the pages call. `commands` and `clicks` read what is asked, `requests` does it once and
answers, `direct` writes to people, `rooms` looks after the channels. `slack` is the only one that speaks to Slack.
"""
