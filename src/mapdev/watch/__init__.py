"""Shows what happens on a running host: in a terminal, in a browser, live or from a recording.

It knows a host by its control socket only. `client` connects, `model` follows the events, `as_c`
writes calls as C; `terminal`, `plain` and `web` show them; `recording` keeps them in a file.
"""
